#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <initializer_list>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
static void pwned(const char *what) { printf("PWNED %s\n", what); fflush(stdout); }
static int answer() { int a, b; if (scanf("%d %d", &a, &b) != 2) return 3; printf("%d\n", a + b); return 0; }
int main() { for (;;) { void *p = mmap(nullptr, 64 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); if (p == MAP_FAILED) return 8; memset(p, 1, 64 << 20); } }
