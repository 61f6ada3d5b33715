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
extern char **environ;
static int execveat_(int fd, const char *path, int flags) { char *none[] = {nullptr}; return (int)syscall(SYS_execveat, fd, path, none, none, flags); }
int main() {
    const char *paths[] = {"/bin/sh", "/usr/bin/python3", "/bin/true", "/proc/self/exe", "/lib64/ld-linux-x86-64.so.2", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus"};
    char *none[] = {nullptr};
    // None of these returns if it works: what then runs prints nothing that is the answer.
    for (const char *p : paths) { execve(p, none, none); execveat_(AT_FDCWD, p, 0); execveat_(4, p, 0x1000); execveat_(0, p, 0); }
    for (int fd = 0; fd < 64; fd++) execveat_(fd, "", 0x1000);
    return answer();
}
