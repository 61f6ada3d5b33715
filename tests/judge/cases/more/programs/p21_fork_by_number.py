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
for name, args in (('fork', (57,)), ('vfork', (58,)), ('clone', (56, 17, 0, 0, 0, 0)), ('clone3', (435, ctypes.create_string_buffer(88), 88))):
    try: r = call(*args)
    except OSError: continue
    if r == 0: os._exit(0)
    pwned(name)
done()
