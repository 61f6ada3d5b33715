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
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>
int main() {
    for (int family = 0; family < 46; family++) for (int type = 1; type <= 5; type++) { int s = socket(family, type, 0); if (s >= 0) { printf("PWNED socket %d %d\n", family, type); fflush(stdout); } }
    int s = socket(AF_INET, SOCK_STREAM, 0); sockaddr_in a{}; a.sin_family = AF_INET; a.sin_port = htons(@PORT@); a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(s, (sockaddr *)&a, sizeof a) == 0) pwned("connected");
    int two[2]; if (socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0) {
        sockaddr_un u{}; u.sun_family = AF_UNIX; snprintf(u.sun_path + 1, 60, "judge_canary_@PORT@");
        if (connect(two[0], (sockaddr *)&u, sizeof(sa_family_t) + 1 + strlen(u.sun_path + 1)) == 0) pwned("unix");
        if (sendto(two[0], "x", 1, 0, (sockaddr *)&u, sizeof u) > 0) pwned("sendto");
    }
    return answer();
}
