import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def pwned(*a): print("PWNED", *a, flush=True)
def done(): print(sum(map(int, sys.stdin.read().split())), flush=True)
def attempt(name, action):
    try: action()
    except (Exception, MemoryError): return
    pwned(name)
def call(n, *a):
    r = libc.syscall(n, *a)
    if r == -1: raise OSError(ctypes.get_errno())
    return r
d = os.open('/', os.O_PATH)
attempt('shadow', lambda: os.open('etc/shadow', os.O_RDONLY, dir_fd=d))
attempt('canary', lambda: os.open('@CANARY@/secret'.lstrip('/'), os.O_RDONLY, dir_fd=d))
os.chdir('/')
attempt('cwd', lambda: open('etc/passwd').read())
attempt('list', lambda: os.listdir('.'))
done()
