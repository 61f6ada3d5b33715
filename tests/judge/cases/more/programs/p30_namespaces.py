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
for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
    attempt(hex(flag), lambda: call(272, flag))
attempt('mount', lambda: call(165, 0, b'/tmp', b'tmpfs', 0, 0))
attempt('chroot', lambda: os.chroot('/tmp'))
attempt('pivot', lambda: call(155, b'/', b'/'))
attempt('setns', lambda: call(308, 0, 0))
attempt('hostname', lambda: call(170, b'x', 1))
done()
