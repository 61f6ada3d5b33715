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
for n in (321, 298, 323, 425, 426, 427, 248, 249, 250, 319, 447, 246, 169, 175, 313, 176, 153, 179, 167, 168, 172, 173, 227, 164, 159, 305, 161, 299, 307, 206, 209, 282, 289, 283, 29, 64, 68, 240, 203, 141, 144, 149, 151, 259, 133, 257 + 0x10000):
    attempt(n, lambda: call(n, 0, 0, 0, 0, 0, 0))
done()
