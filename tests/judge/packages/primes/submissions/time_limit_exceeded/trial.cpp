#include <cstdio>
int main() { int n; if (scanf("%d", &n) != 1) return 1; int c = 0; for (int p = 2; p < n; p++) { int prime = 1; for (int q = 2; q < p; q++) if (p % q == 0) prime = 0; c += prime; } printf("%d\n", c); }
