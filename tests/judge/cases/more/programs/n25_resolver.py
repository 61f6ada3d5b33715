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
import socket, urllib.request
attempt('resolver', lambda: socket.getaddrinfo('example.com', 80))
attempt('http', lambda: urllib.request.urlopen('http://127.0.0.1:@PORT@', timeout=1))
done()
