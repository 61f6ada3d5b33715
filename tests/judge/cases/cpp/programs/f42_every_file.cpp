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
    const char *names[] = {"/", "/etc", "/etc/passwd", "/etc/shadow", "/root", "/home", "/tmp", "/build", "/build/program", "/inside", "/inside/server.py", "/usr/lib", "/usr/include", "/usr/include/stdio.h", "/dev/shm", "/dev/mem", "/dev/kmsg", "/dev/ptmx", "/dev/tty", "/sys", "/run", "/var", ".", ".."};
    for (const char *n : names) { if (open(n, O_RDONLY) >= 0) pwned(n); if (open(n, O_RDONLY | O_DIRECTORY) >= 0) pwned(n); }
    for (const char *n : {"/tmp/x", "/build/x", "/dev/shm/x", "x", "/dev/x"}) if (open(n, O_CREAT | O_RDWR, 0666) >= 0) pwned(n);
    if (open(".", O_TMPFILE | O_RDWR, 0600) >= 0 || open("/build", O_TMPFILE | O_RDWR, 0600) >= 0) pwned("O_TMPFILE");
    return answer();
}
