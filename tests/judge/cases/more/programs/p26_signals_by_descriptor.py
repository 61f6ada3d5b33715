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
import fcntl
r, w = os.pipe()
attempt('owner', lambda: fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid()))
attempt('signal', lambda: fcntl.fcntl(r, 10, 9))
attempt('lease', lambda: fcntl.fcntl(0, 1024, 1))
attempt('notify', lambda: fcntl.fcntl(0, 1026, 1))
done()
