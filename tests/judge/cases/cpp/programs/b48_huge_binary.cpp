char table[1L << 31] = {1};
int main() { return table[5]; }
