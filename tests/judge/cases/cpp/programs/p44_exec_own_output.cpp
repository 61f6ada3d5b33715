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
// Writes a program to its output, the one file it has, and tries to become that.
int main() {
    static const unsigned char elf[] = {0x7f,'E','L','F',2,1,1,0,0,0,0,0,0,0,0,0,2,0,0x3e,0,1,0,0,0,0x78,0,0x40,0,0,0,0,0,0x40,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0x40,0,0x38,0,1,0,0,0,0,0,0,0,
        1,0,0,0,5,0,0,0,0,0,0,0,0,0,0,0,0,0,0x40,0,0,0,0,0,0,0,0x40,0,0,0,0,0,0x90,0,0,0,0,0,0,0,0x90,0,0,0,0,0,0,0,0,0x10,0,0,0,0,0,0,
        0xb8,0x3c,0,0,0,0x31,0xff,0x0f,0x05};
    if (write(1, elf, sizeof elf) < 0) return 9;
    fchmod(1, 0777); dup2(1, 4);
    char *none[] = {nullptr};
    syscall(SYS_execveat, 4, "", none, none, 0x1000);
    ftruncate(1, 0); lseek(1, 0, SEEK_SET);
    return answer();
}
