#line 1 "/etc/shadow"
int main() { return undeclared; }
