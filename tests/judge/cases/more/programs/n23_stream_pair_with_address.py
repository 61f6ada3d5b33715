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
a, b = socket.socketpair()
attempt('sendto', lambda: a.sendto(b'x', '\0judge_canary_@PORT@'))
attempt('sendmsg', lambda: a.sendmsg([b'x']))
attempt('connect', lambda: a.connect('\0judge_canary_@PORT@'))
attempt('bind', lambda: a.bind('\0mine'))
attempt('descriptors', lambda: socket.send_fds(a, [b'x'], [0]))
done()
