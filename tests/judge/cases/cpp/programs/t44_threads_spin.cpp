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
#include <pthread.h>
static void *spin(void *) { for (volatile long i = 0;; i = i + 1) {} }
int main() { for (int i = 0; i < 8; i++) { pthread_t t; pthread_create(&t, nullptr, spin, nullptr); } pthread_exit(nullptr); }
