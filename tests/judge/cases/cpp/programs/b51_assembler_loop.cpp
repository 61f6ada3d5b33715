asm(".rept 100000\n.rept 100000\n.byte 1\n.endr\n.endr");
int main() {}
