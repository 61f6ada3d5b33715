const char interp[] __attribute__((section(".interp"), used)) = "/lib64/ld-linux-x86-64.so.2";
int main() { return 0; }
