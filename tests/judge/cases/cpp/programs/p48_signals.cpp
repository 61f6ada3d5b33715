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
    for (pid_t p : {getppid(), (pid_t)1, (pid_t)-1, (pid_t)0, -getpgrp()}) if (p != getpid() && kill(p, 0) == 0) pwned("signalled");
    if (syscall(SYS_tgkill, getppid(), getppid(), 0) == 0) pwned("tgkill");
    if (syscall(SYS_rt_sigqueueinfo, getppid(), 0, nullptr) == 0) pwned("sigqueue");
    int f = fcntl(0, F_SETOWN, getppid()); if (f == 0) pwned("owns descriptors for others");
    if (setpriority(PRIO_USER, 0, 19) == 0) pwned("slows others");
    return answer();
}
