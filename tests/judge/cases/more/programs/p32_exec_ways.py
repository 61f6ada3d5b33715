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
attempt('execve', lambda: os.execv(sys.executable or '/usr/bin/python3', ['x']))
attempt('execveat', lambda: call(322, 0, b'', 0, 0, 0x1000))
attempt('spawn', lambda: os.posix_spawn('/bin/sh', ['sh'], {}))
attempt('system', lambda: 1 / (os.system('true') == 0))
attempt('popen', lambda: os.popen('echo hi').read()[0])
done()
