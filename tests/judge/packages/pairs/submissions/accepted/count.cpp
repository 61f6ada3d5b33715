#include <cstdio>
#include <unordered_map>
int main() {
    long n, k, x, total = 0;
    if (scanf("%ld %ld", &n, &k) != 2) return 1;
    std::unordered_map<long, long> seen;
    while (n-- && scanf("%ld", &x) == 1) { auto found = seen.find(k - x); if (found != seen.end()) total += found->second; seen[x]++; }
    printf("%ld\n", total);
}
