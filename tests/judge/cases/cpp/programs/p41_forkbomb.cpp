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
int main() {
    for (int i = 0; i < 200; i++) { pid_t p = fork(); if (p >= 0) { if (!p) { for (;;) pause(); } pwned("forked"); } }
    if (vfork() >= 0) { pwned("vforked"); _exit(1); }
    for (long flags : {0L, 0x11L, 0x4111L, 0x100L, 0x10000000L, 0x20000011L})
        if (syscall(SYS_clone, flags, 0, 0, 0, 0) >= 0) { pwned("cloned"); _exit(1); }
    return answer();
}
