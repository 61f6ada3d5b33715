#include <cstdio>
int main() {
    int n, k; signed char x[100000]; int total = 0;
    if (scanf("%d %d", &n, &k) != 2) return 1;
    for (int i = 0; i < n; i++) { int v; if (scanf("%d", &v) != 1) return 1; x[i] = (signed char)v; }
    for (int i = 0; i < n; i++) for (int j = 0; j < i && j < 300; j++) total += x[i] + x[j] == k;
    printf("%d\n", total);
}
