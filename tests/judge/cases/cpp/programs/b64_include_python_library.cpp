#if __has_include("/usr/lib/python3.11/os.py") || __has_include("/usr/lib/os-release")
#include "/usr/lib/os-release"
#else
#error nothing there
#endif
int main() {}
