#if __has_include("@CANARY@/secret")
#define SEEN 1
#else
#define SEEN 0
#endif
#include <cstdio>
int main() { int a, b; if (scanf("%d %d", &a, &b) != 2) return 1; printf("%d\n", a + b); }
