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
for n in list(range(1, 400)) + [os.getppid()]:
    if n == os.getpid(): continue
    for f in ('environ', 'cmdline', 'maps', 'mem', 'status', 'fd', 'root', 'cwd'):
        attempt((n, f), lambda: os.listdir(f'/proc/{n}/{f}') if f in ('fd', 'root', 'cwd') else open(f'/proc/{n}/{f}', 'rb').read(8))
done()
