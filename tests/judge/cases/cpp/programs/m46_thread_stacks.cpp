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
static void *sleep_(void *) { pause(); return nullptr; }
int main() { int made = 0; for (int i = 0; i < 5000; i++) { pthread_t t; if (pthread_create(&t, nullptr, sleep_, nullptr)) break; made++; } if (made >= 4000) pwned("thousands of threads"); answer(); fflush(stdout); _exit(0); }
