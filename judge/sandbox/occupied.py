"""What the host sees of a running process: how long it was asleep, and the memory that it takes."""

import math
import os
from pathlib import Path

# Running or ready to run; waiting for a page that was put out of memory.
_NOT_ASLEEP = ("R", "D")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def occupied_s(pidfd: int) -> float:
    """Seconds on a processor or in the queue for one, of its busiest thread; infinite if a thread is right now.

    Not of all threads together: many that are woken at once wait for each other, and would count that many times. The
    kernel counts a wait for a processor only when it is over, and a starved process may be in the midst of a long one.
    pidfd: a process descriptor, which names the process on this side of a process namespace too. 0.0 where the kernel
    does not count it; a process that cannot be looked at counts as asleep.
    """
    try:
        tasks = list(_process(pidfd).joinpath("task").iterdir())
        if any(_state(task) in _NOT_ASLEEP for task in tasks):
            return math.inf
        return max(_ran_and_waited(task / "schedstat") for task in tasks) / 1e9
    except (OSError, ValueError, StopIteration):
        return 0.0


def resident(pidfd: int) -> int:
    """Bytes of memory that a process takes now, as the kernel counts it: 0 for one that has ended."""
    try:
        return int((_process(pidfd) / "statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


class IdleTime:
    """How long a run has slept, from what is seen of it now and then.

    Between two looks it was occupied for as long as its count grew, and for the whole time if it is occupied at the
    second: it may be in the midst of a wait that is not counted yet.
    """

    def __init__(self) -> None:
        self._looked = self._occupied = self._counted = 0.0

    def after(self, seconds: float, occupied: float) -> float:
        """Seconds asleep. seconds: since the run began. occupied: as `occupied_s` has it, since then."""
        interval, self._looked = seconds - self._looked, seconds
        if occupied == math.inf:
            self._occupied += interval
        else:
            self._occupied += min(interval, max(0.0, occupied - self._counted))
            self._counted = occupied
        return seconds - self._occupied


def _process(pidfd: int) -> Path:
    """Raises StopIteration or ValueError for one that is not to be seen from here."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    pid = next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
    if pid <= 0:
        raise ValueError("it has ended")
    return Path(f"/proc/{pid}")


def _state(task: Path) -> str:
    # After the name, which is in brackets and may hold any character.
    return (task / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]


def _ran_and_waited(schedstat: Path) -> int:
    ran, waited, _ = schedstat.read_text().split()
    return int(ran) + int(waited)
