"""How much one run may take."""

import math
from dataclasses import dataclass

from alpharay.judge.errors import ProblemError

# A sleeping program is ended after this many times its CPU limit; one that is starved of CPU waits longer.
HANG_FACTOR = 3.0
LEAST_WALL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one case.

    cpu_s: seconds of the candidate's own CPU time. memory_mb: MiB of resident memory.
    output_bytes: printed, and again for errors and for the answers of a call; more where more is expected.
    """

    cpu_s: float = 6.0
    memory_mb: int = 512
    output_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cpu_s) and 0.01 <= self.cpu_s <= 600):
            raise ProblemError(f"time_limit_s must be between 0.01 and 600 seconds, got {self.cpu_s}")
        if not 16 <= self.memory_mb <= 65536:
            raise ProblemError(f"memory_limit_mb must be between 16 and 65536 MiB, got {self.memory_mb}")
        if not 1024 <= self.output_bytes <= 1 << 32:
            raise ProblemError(f"output_bytes must be between 1 KiB and 4 GiB, got {self.output_bytes}")

    @property
    def wall_s(self) -> float:
        """The hang guard in seconds of wall clock."""
        return max(HANG_FACTOR * self.cpu_s, LEAST_WALL_S)
