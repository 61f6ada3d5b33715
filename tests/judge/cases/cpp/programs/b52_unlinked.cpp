extern int nowhere(); int main() { return nowhere(); }
