// Headers that a loader may stumble over: a stack segment, a note and properties of the program's own making.
asm(".section .note.gnu.property,\"a\"\n.long 4, 0x7fffffff, 5\n.string \"GNU\"\n"
    ".section .note.GNU-stack,\"x\"\n.section .dynamic,\"aw\"\n.quad 21, 0xdead\n.text");
int main() { return 0; }
