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
info = ctypes.create_string_buffer(128)
attempt('sigqueue', lambda: call(129, os.getppid(), 9, info))
attempt('tgsigqueue', lambda: call(297, os.getppid(), os.getppid(), 9, info))
attempt('tkill', lambda: call(200, os.getppid(), 9))
attempt('tgkill', lambda: call(234, os.getppid(), os.getppid(), 9))
done()
