asm(".globl main\nmain: ud2");
