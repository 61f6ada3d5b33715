asm(".include \"@CANARY@/secret\"");
int main() {}
