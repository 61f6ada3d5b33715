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
for path in ('/proc/kcore', '/proc/kallsyms', '/proc/keys', '/proc/net/tcp', '/sys/kernel/debug', '/dev/mem', '/dev/kmsg', '/var/log/dmesg', '/sys/class/dmi/id/product_uuid', '/etc/machine-id', '/etc/hostname'):
    attempt(path, lambda: open(path, 'rb').read(1))
attempt('syslog', lambda: call(103, 3, ctypes.create_string_buffer(64), 64))
done()
