#include "/etc/passwd"
#include "@CANARY@/secret"
#include "/proc/self/environ"
int main() {}
