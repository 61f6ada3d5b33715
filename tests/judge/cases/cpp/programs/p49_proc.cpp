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
#include <dirent.h>
int main() {
    char path[64];
    const char *names[] = {"environ", "mem", "maps", "cmdline", "root/etc/passwd", "fd/0", "cwd/..", "exe", "status", "task/1/mem"};
    // Its own input and its own image are no secrets of others.
    for (const char *name : names) for (int pid : {(int)getppid(), 1, (int)getpid()}) {
        if (pid == getpid() && (!strcmp(name, "fd/0") || !strcmp(name, "exe"))) continue;
        snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
        if (open(path, O_RDONLY) >= 0) pwned(path);
        if (open(path, O_RDWR) >= 0) pwned(path);
    }
    for (const char *name : {"/proc/self/mem", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/self/oom_score_adj", "/sys/kernel/mm"}) if (open(name, O_RDWR) >= 0) pwned(name);
    if (opendir("/proc")) pwned("lists /proc");
    return answer();
}
