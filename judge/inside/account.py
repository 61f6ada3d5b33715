"""Who pays for the CPU time of the tests' process: the tests' author, or the candidate whose words it reads."""

import signal
import time

# Test programs in a process of their own work on their author's account, and may take longer than what they test.
TESTS_FACTOR = 10
# What the tests take that long to do with fewer bytes than this is of their own making: not even numbers chosen to
# fall on one place of a hash table could keep them busy.
BULK_BYTES = 16 << 10
# Of all that the process may use: then it ends by this account, and not by the server's clock, which blames the tests.
NEARLY = 0.9
AT_ONCE = 1e-6  # a timer cannot be set to nothing


class Account:
    """While it is entered, the candidate pays; when it cannot, the kernel ends the process by SIGPROF.

    Not a check between steps: a single one, such as filling a set with numbers of one hash, may take hours. Once
    there is much that it said, the tests are at work on that and it pays for all they do, as much as they may use.
    """

    def __init__(self, cpu_s: float) -> None:
        """cpu_s: CPU seconds after which the server ends the process."""
        self._left = cpu_s / TESTS_FACTOR
        self._whole = NEARLY * cpu_s
        self._heard = 0
        self._entered = 0
        self._since = 0.0

    def heard(self, size: int) -> None:
        """So many bytes came from the candidate."""
        self._heard += size

    def __enter__(self) -> None:
        self._entered += 1
        if self._entered == 1:
            self._since = time.process_time()
            left = self._whole - self._since
            self._set(min(self._left, left) if self._heard > BULK_BYTES else self._left)

    def __exit__(self, *_: object) -> None:
        self._entered -= 1
        if self._entered == 0:
            now = time.process_time()
            # Not what the timer says is left: each time it is set, the kernel adds a tick.
            self._left -= now - self._since
            self._set(self._whole - now if self._heard > BULK_BYTES else 0.0)

    def _set(self, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_PROF, seconds and max(seconds, AT_ONCE))
