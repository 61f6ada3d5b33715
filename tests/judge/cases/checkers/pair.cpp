// Two numbers that add up to the given one; with a header that the problem brings.
#include <fstream>
#include <iostream>
#include <reading.h>
int main(int count, char **words) {
    if (count != 4) return 3;
    std::ifstream input(words[1]), output(words[2]), answer(words[3]);
    long total, a, b;
    if (!read(input, total)) return 3;
    if (!read(output, a) || !read(output, b)) { std::cerr << "two numbers were expected"; return 2; }
    std::string more;
    if (output >> more) return 2;
    return a + b == total ? 0 : 1;
}
