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
local = ctypes.create_string_buffer(16)
vector = (ctypes.c_uint64 * 2)(ctypes.addressof(local), 16)
attempt('read', lambda: call(310, os.getppid(), vector, 1, vector, 1, 0))
attempt('write', lambda: call(311, os.getppid(), vector, 1, vector, 1, 0))
attempt('ptrace', lambda: call(101, 16902, os.getppid(), 0, 0))
attempt('kcmp', lambda: call(312, os.getppid(), os.getpid(), 0, 0, 0))
done()
