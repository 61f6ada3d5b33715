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
// What was open before it was started must be closed: only its own streams may answer.
int main() {
    struct stat s;
    for (int fd = 3; fd < 4096; fd++) if (fstat(fd, &s) == 0) { printf("PWNED descriptor %d\n", fd); fflush(stdout); }
    if (write(0, "x", 1) > 0) pwned("wrote to its input");
    if (ftruncate(0, 0) == 0) pwned("truncated its input");
    return answer();
}
