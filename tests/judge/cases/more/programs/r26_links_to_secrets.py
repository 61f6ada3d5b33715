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
attempt('hard link', lambda: os.link('@CANARY@/secret', '/tmp/s'))
attempt('symbolic link', lambda: os.symlink('@CANARY@/secret', '/tmp/t'))
attempt('renaming', lambda: os.rename('@CANARY@/secret', '@CANARY@/x'))
attempt('handle', lambda: call(304, -100, 0, 0))
done()
