#include <cstdio>
#include <vector>
int main() { int n; if (scanf("%d", &n) != 1) return 1; std::vector<char> s(n + 2, 1); int c = 0; for (int i = 2; i < n; i++) if (s[i]) { c++; for (long j = (long)i * i; j < n; j += i) s[j] = 0; } printf("%d\n", c); }
