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
import socket
total, keep = 0, []
try:
    while True:
        a, b = socket.socketpair()
        keep += [a, b]
        a.setblocking(False)
        try:
            while True: total += a.send(b'x' * 65536)
        except BlockingIOError: pass
except OSError: pass
total > 64 << 20 and pwned('socket bytes', total)
del keep
done()
