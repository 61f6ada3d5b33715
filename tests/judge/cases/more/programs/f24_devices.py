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
for d in ('/dev/full', '/dev/ptmx', '/dev/tty', '/dev/console', '/dev/vda', '/dev/fuse', '/dev/kvm', '/dev/net/tun', '/dev/nvidia0', '/dev/loop0'):
    attempt(d, lambda: open(d, 'rb'))
    attempt(d, lambda: open(d, 'wb'))
attempt('zero for writing', lambda: os.open('/dev/zero', os.O_RDWR))
attempt('stuff input', lambda: call(16, 0, 0x5412, b'x'))
done()
