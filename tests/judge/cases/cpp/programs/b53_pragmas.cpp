#pragma GCC dependency "@CANARY@/secret"
#pragma GCC optimize("O3")
#pragma GCC target("avx2")
#include <cstdio>
int main() { int a, b; if (scanf("%d %d", &a, &b) != 2) return 1; printf("%d\n", a + b); }
