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
v = '@CANARY@/victim'
attempt('chmod', lambda: os.chmod(v, 0o777))
attempt('chown', lambda: os.chown(v, 0, 0))
attempt('utime', lambda: os.utime(v))
attempt('truncate', lambda: os.truncate(v, 0))
attempt('xattr', lambda: os.setxattr(v, 'user.x', b'1'))
attempt('unlink', lambda: os.unlink(v))
attempt('rename', lambda: os.rename(v, v + '2'))
attempt('rmdir', lambda: os.rmdir('@CANARY@'))
done()
