#include <iostream>
#include <string>
int main() { std::string s; std::cin >> s; int best = 0, now = 0; for (size_t i = 0; i < s.size(); i++) { now = i && s[i] == s[i - 1] ? now + 1 : 1; if (now > best) best = now; } std::cout << best << std::endl; }
