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
#include <sys/ptrace.h>
#include <sys/uio.h>
int main() {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0) pwned("traceme");
    if (ptrace(PTRACE_ATTACH, getppid(), 0, 0) == 0) pwned("attached");
    if (ptrace(PTRACE_SEIZE, 1, 0, 0) == 0) pwned("seized");
    char b[8]; iovec l{b, 8}, r{(void *)0x400000, 8};
    if (process_vm_readv(getppid(), &l, 1, &r, 1, 0) >= 0) pwned("read memory");
    if (syscall(SYS_kcmp, getppid(), getpid(), 0, 0, 0) >= 0) pwned("kcmp");
    return answer();
}
