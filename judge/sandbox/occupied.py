"""How long a process has been running or ready to run: the rest of its life it was asleep."""

import math
from pathlib import Path

# Running or ready to run; waiting for a page that was put out of memory.
_NOT_ASLEEP = ("R", "D")


def occupied_s(pidfd: int) -> float:
    """Seconds on a processor or in the queue for one, all threads together; infinite if one is right now.

    The kernel counts a wait for a processor only when it is over, and a starved process may be in the midst of
    a long one. pidfd: a process descriptor, which names the process on this side of a process namespace
    too. 0.0 where the kernel does not tell; a process that cannot be looked at counts as asleep.
    """
    try:
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
        pid = next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
        tasks = list(Path(f"/proc/{pid}/task").iterdir()) if pid > 0 else []
        if any(_state(task) in _NOT_ASLEEP for task in tasks):
            return math.inf
        return sum(_ran_and_waited(task / "schedstat") for task in tasks) / 1e9
    except (OSError, ValueError, StopIteration):
        return 0.0


def _state(task: Path) -> str:
    # After the name, which is in brackets and may hold any character.
    return (task / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]


def _ran_and_waited(schedstat: Path) -> int:
    ran, waited, _ = schedstat.read_text().split()
    return int(ran) + int(waited)
