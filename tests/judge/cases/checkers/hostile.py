"""Tries to get out; ends well only where nothing of it works."""
import os
import socket
import sys

folder = sys.argv[1].rpartition("/")[0]


def works(action):
    try:
        action()
    except Exception:
        return False
    return True


attempts = [
    lambda: open("/etc/passwd").read(),
    lambda: open("@CANARY@/secret").read(),
    lambda: open("@CANARY@/victim", "a").write("x"),
    lambda: open(folder + "/made", "w"),
    lambda: open(sys.argv[1], "w").write("x"),
    lambda: os.unlink(sys.argv[1]),
    lambda: os.chmod(sys.argv[1], 0o777),
    lambda: os.symlink("/etc/passwd", folder + "/link"),
    lambda: socket.create_connection(("127.0.0.1", @PORT@), 1),
    os.fork,
    lambda: os.kill(os.getppid(), 0),
]
worked = [place for place, attempt in enumerate(attempts) if works(attempt)]
print("PWNED" if worked else "", worked, file=sys.stderr)
sys.exit(3 if worked else 0)
