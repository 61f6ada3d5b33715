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
int main() { rlimit r{RLIM_INFINITY, RLIM_INFINITY}; for (int i = 0; i < 16; i++) if (setrlimit((__rlimit_resource)i, &r) == 0 && (getrlimit((__rlimit_resource)i, &r), r.rlim_max == RLIM_INFINITY) && (i == RLIMIT_CPU || i == RLIMIT_AS || i == RLIMIT_FSIZE)) pwned("raised a limit"); for (volatile long i = 0;; i = i + 1) {} }
