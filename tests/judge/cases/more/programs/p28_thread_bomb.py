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
import threading
threading.stack_size(65536)
stop = threading.Event()
n = 0
try:
    while n < 20000:
        threading.Thread(target=stop.wait, daemon=True).start(); n += 1
except (RuntimeError, MemoryError): pass
n > 5000 and pwned('threads', n)
done()
