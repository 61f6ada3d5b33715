"""Bounds the runs of one candidate: time asleep in all as for one that hangs, and a few failed runs."""

from alpharay.judge.limits import Limits
from alpharay.judge.sandbox.order import Ended

# However long others have slept, a run is not thought to hang before this.
LEAST_S = 0.25
# A candidate of which further cases would be run after a failed one is given up when failed runs have slept for so many
# times the hang guard, or used so many times the CPU time of a case.
HANGS, TIMEOUTS = 3, 10


class Patience:
    """Takes from the hang guard what each run was not on a processor.

    On a busy machine that is more than it slept; the shorter guard then makes the sandbox look sooner whether a run
    sleeps or waits for a processor, and ends only one that sleeps.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._hung = self._slept = self._burnt = 0.0

    @property
    def guard_s(self) -> float:
        """How long the next run may sleep."""
        return max(LEAST_S, self._limits.wall_s - self._slept)

    @property
    def over(self) -> bool:
        """Whether so much was spent on runs that failed that no further one should be made."""
        return self._hung > HANGS * self._limits.wall_s or self._burnt > TIMEOUTS * self._limits.cpu_s

    def ran(self, ended: Ended) -> None:
        slept = max(0.0, ended.wall_s - ended.cpu_s)
        self._slept += slept
        if ended.ended == "wall":
            self._hung += slept
        if ended.ended != "exit" or ended.code:
            self._burnt += ended.cpu_s
