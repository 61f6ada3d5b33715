#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <sys/mman.h>
int main() {
    for (int shift : {21, 30}) {
        void *p = mmap(0, 1ul << 30, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (shift << 26), -1, 0);
        if (p != MAP_FAILED) puts("PWNED huge pages");
    }
    for (;;) {
        char *p = (char *)mmap(0, 16 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) break;
        memset(p, 1, 16 << 20);
    }
    puts("5");
}
