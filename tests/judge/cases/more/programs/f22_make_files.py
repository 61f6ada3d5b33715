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
import tempfile
for d in ('/tmp', '/var/tmp', '/dev/shm', '/run', '/inside', '@CANARY@', '.', '/'):
    attempt(d, lambda: open(d + '/made', 'w').write('x'))
    attempt(('directory', d), lambda: os.mkdir(d + '/made2'))
    attempt(('fifo', d), lambda: os.mkfifo(d + '/made3'))
    attempt(('unnamed', d), lambda: os.open(d, os.O_TMPFILE | os.O_RDWR))
    attempt(('node', d), lambda: os.mknod(d + '/made4'))
attempt('tempfile', tempfile.TemporaryFile)
done()
