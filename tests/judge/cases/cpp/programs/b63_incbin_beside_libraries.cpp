#include <cstdio>
asm(".globl stolen\nstolen: .incbin \"/usr/lib/os-release\"\n.byte 0");
extern const char stolen[];
int main() { printf("PWNED %s\n", stolen); }
