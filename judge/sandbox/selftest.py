"""Controls and hostile probes that a layer must judge rightly before it is used."""

import contextlib
import secrets
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from alpharay.judge.limits import Limits
from alpharay.judge.sandbox.order import Ended, Order
from alpharay.judge.sandbox.packages import Packages
from alpharay.judge.sandbox.worker import Worker

LIMITS = Limits(cpu_s=1.0, memory_mb=256)

LIBRARY = "import zoneinfo, hashlib, decimal, asyncio, xml.dom, threading\n"
THREAD = "t = threading.Thread(target=lambda: print(sum(map(int, input().split()))))\nt.start(); t.join()\n"

# Each line tries one forbidden thing and names it if it worked.
BREACHES = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
breaches = []
def attempt(name, action):
    try:
        action()
    except Exception:
        return
    breaches.append(name)
def call(number, *arguments):
    if libc.syscall(number, *arguments) == -1:
        raise OSError
def connect(address, kind):
    s = socket.socket(kind); s.connect(address); s.send(b"x")
parent = os.getppid()
def open_of_others():
    opened = 0
    for pid in {1, 2, *range(max(parent - 2, 1), parent + 8)} - {os.getpid()}:
        for descriptor in range(32):
            try:
                os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDONLY)
                opened += 1
            except OSError:
                pass
    1 / opened
attempt("reads files", lambda: open("@DIRECTORY@/secret").read())
attempt("lists directories", lambda: os.listdir("@DIRECTORY@"))
attempt("lists /", lambda: os.listdir("/"))
attempt("changes files", lambda: open("@DIRECTORY@/victim", "a").write("x"))
attempt("makes files", lambda: open("/tmp/made", "w"))
attempt("makes files in shared memory", lambda: open("/dev/shm/made", "w"))
attempt("deletes files", lambda: os.unlink("@DIRECTORY@/victim"))
attempt("reads the environment of others", lambda: open(f"/proc/{parent}/environ").read())
attempt("reads the memory of others", lambda: open(f"/proc/{parent}/mem"))
attempt("opens the files of others", open_of_others)
attempt("reaches the network", lambda: connect(("127.0.0.1", @PORT@), socket.AF_INET))
attempt("reaches local sockets", lambda: connect("\\0@ABSTRACT@", socket.AF_UNIX))
attempt("forks", os.fork)
attempt("starts programs", lambda: os.posix_spawn(sys.executable or "/bin/true", ["x"], {}))
attempt("signals others", lambda: os.kill(parent, 0))
attempt("signals everybody", lambda: os.kill(-1, 0))
attempt("traces others", lambda: call(101, 16, parent, 0, 0))
attempt("makes memory files", lambda: os.memfd_create("x"))
attempt("uses io_uring", lambda: call(425, 1, ctypes.create_string_buffer(120)))
attempt("uses keyrings", lambda: call(250, 0, -3, 0))
attempt("makes namespaces", lambda: call(272, 0x10000000))
attempt("raises limits", lambda: call(160, 0, (ctypes.c_uint64 * 2)(2**62, 2**62)))
attempt("is root", lambda: os.setuid(0) if os.getuid() else 1 / 0)
environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
breaches += ["has an environment"] if environment != {"ONLINE_JUDGE": "1"} else []
print(*breaches, sep=", ")
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """A program and what its run must look like. ended: in one of these ways."""

    name: str
    program: str
    stdout: bytes | None = None
    ended: tuple[str, ...] = ("exit",)
    code: int | None = 0


def probes(directory: str, port: int, abstract: str) -> list[Probe]:
    breaches = (
        BREACHES.replace("@DIRECTORY@", directory)
        .replace("@PORT@", str(port))
        .replace("@ABSTRACT@", abstract)
    )
    return [
        Probe("control", "print(sum(map(int, input().split())))", b"5\n"),
        Probe("library and threads", LIBRARY + THREAD, b"5\n"),
        Probe("failure", "1 / 0", b"", code=1),
        Probe("breaches", breaches, b"\n"),
        # On a starved machine the hang guard comes first, which is no fault of the layer.
        Probe("endless loop", "while True: pass", b"", ended=("cpu", "wall"), code=-9),
        Probe("too much memory", "b'x' * (8 << 30)", b"", code=1),
        Probe("endless output", "while True: print('x' * 4096)", code=1),
        Probe("control after all that", "print(sum(map(int, input().split())))", b"5\n"),
    ]


def _of_packages(packages: Packages) -> list[Probe]:
    """Whether they can be imported, and cannot be changed."""
    program = f"""
import os, sys
{"".join(f"import {name}; assert {name}.__file__.startswith({packages.folder!r})" + chr(10) for name in packages.preloaded)}
for name in ("numpy_made.py", "sitecustomize.py"):
    try:
        open(os.path.join({packages.folder!r}, name), "w")
        print("changes packages")
    except OSError:
        pass
print(len(os.listdir({packages.folder!r})) > 0 and sys.path[-1] == {packages.folder!r})
"""
    return [Probe("packages", program, b"True\n")]


async def misjudged(worker: Worker) -> list[str]:
    """What this worker's layer got wrong, in words; an empty list: it may be used.

    Raises WorkerDied when a probe ended the fork server.
    """
    abstract = f"alpharay-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        directory = _bait(stack.enter_context(tempfile.TemporaryDirectory(prefix="alpharay-")))
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(f"\0{abstract}")
        unix.listen()
        wrong = []
        packages = worker.layer.packages
        all_probes = probes(str(directory), tcp.getsockname()[1], abstract)
        for probe in [*all_probes, *(_of_packages(packages) if packages else ())]:
            limits = Limits(cpu_s=0.1, memory_mb=256) if "cpu" in probe.ended else LIMITS
            order = Order(mode="stdio", program=probe.program.encode(), input=b"2 3\n", limits=limits)
            wrong += _differences(probe, await worker.run(order))
        return wrong + _touched(directory)


def _bait(name: str) -> Path:
    """Files open to anyone, so that only the sandbox keeps the probes out."""
    directory = Path(name)
    directory.chmod(0o777)
    for file in (directory / "secret", directory / "victim"):
        file.write_text("untouched")
        file.chmod(0o666)
    return directory


def _touched(directory: Path) -> list[str]:
    left = {file.name: file.read_text() for file in directory.iterdir()}
    return [] if left == {"secret": "untouched", "victim": "untouched"} else ["files outside were changed"]


def _differences(probe: Probe, ended: Ended) -> list[str]:
    message = ended.stderr.decode(errors="replace").strip().split("\n")[-1]
    if ended.phase != "SR":
        return [f"{probe.name}: it did not run ({message or ended.phase or 'no sign of life'})"]
    if ended.ended not in probe.ended or (probe.code is not None and ended.code != probe.code):
        return [f"{probe.name}: ended by {ended.ended} with {ended.code} ({message})"]
    if probe.stdout is not None and ended.stdout != probe.stdout:
        return [f"{probe.name}: {ended.stdout.decode(errors='replace').strip() or 'printed nothing'}"]
    return []
