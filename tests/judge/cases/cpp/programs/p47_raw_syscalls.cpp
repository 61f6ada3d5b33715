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
static long raw(long n, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    register long r10 asm("r10") = d; register long r8 asm("r8") = e; register long r9 asm("r9") = f; long r;
    asm volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return r;
}
int main() {
    char room[256] = {};
    // fork vfork execve ptrace unshare mount memfd_create bpf userfaultfd io_uring_setup keyctl add_key perf_event_open
    // setns pivot_root chroot kexec_load init_module clone3 pidfd_open process_madvise seccomp shmget msgget semget
    const long numbers[] = {57, 58, 101, 272, 165, 319, 321, 323, 425, 250, 248, 298, 308, 155, 161, 246, 175, 434, 440, 317, 29, 68, 64, 41, 49, 50, 42, 43, 46, 288, 299, 307};
    for (long n : numbers) { long r = raw(n, (long)room, 1, 0600, 0, 0); if (r >= 0) { printf("PWNED call %ld gave %ld\n", n, r); fflush(stdout); } }
    for (long n = 424; n < 560; n++) { if (n == 435 || n == 436 || n == 439) continue; long r = raw(n, -1, (long)room, 0, 0, 0); if (r >= 0 && n != 449 && n != 441) { printf("PWNED new call %ld\n", n); fflush(stdout); } }
    return answer();
}
