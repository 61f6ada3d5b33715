asm(".section .interp,\"a\"\n.string \"/nonexistent\"\n.text");
int main() { return 0; }
