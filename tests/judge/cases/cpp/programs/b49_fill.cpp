asm(".fill 0x40000000, 1, 1");
int main() {}
