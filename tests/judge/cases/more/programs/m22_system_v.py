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
attempt('shmget', lambda: call(29, 0, 1 << 30, 0o1600))
attempt('msgget', lambda: call(68, 0, 0o1600))
attempt('semget', lambda: call(64, 0, 1000, 0o1600))
attempt('mq_open', lambda: call(240, b'/x', 0o102, 0o600, 0))
done()
