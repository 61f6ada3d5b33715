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
# Online judges set this one, and programs look for it.
assert os.environ.pop("ONLINE_JUDGE") == "1"
for k, v in os.environ.items(): pwned(k, v)
done()
