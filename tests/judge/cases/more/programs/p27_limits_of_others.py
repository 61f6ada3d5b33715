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
import resource
attempt('limits of the parent', lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1)))
attempt('priority', lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19))
attempt('affinity', lambda: os.sched_setaffinity(os.getppid(), [0]))
attempt('scheduler', lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)))
done()
