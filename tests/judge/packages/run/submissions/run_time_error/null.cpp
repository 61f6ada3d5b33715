#include <iostream>
#include <string>
int main() { std::string s; std::cin >> s; volatile int *p = s.size() > 90 ? nullptr : new int(1); int best = *p, now = 1; for (size_t i = 1; i < s.size(); i++) { now = s[i] == s[i - 1] ? now + 1 : 1; if (now > best) best = now; } std::cout << best << std::endl; }
