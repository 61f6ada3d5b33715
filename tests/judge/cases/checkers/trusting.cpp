// Writes past its own memory where a candidate says so, and loops or prints for as long as it says.
#include <cstdio>
#include <cstdlib>
int main(int, char **words) {
    FILE *output = fopen(words[2], "r");
    long what, value;
    if (!output || fscanf(output, "%ld %ld", &what, &value) != 2) return 1;
    if (what == 1) *reinterpret_cast<volatile long *>(value) = 1;
    for (volatile long turn = 0; what == 2 && turn < value; turn = turn + 1) {}
    for (long turn = 0; what == 3 && turn < value; ++turn) puts("0123456789");
    if (what == 4) for (long turn = 0; turn < value; ++turn) *static_cast<volatile char *>(calloc(1, 4096)) = 1;
    return value == 5 ? 0 : 1;
}
