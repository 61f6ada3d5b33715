"""Charges the CPU time of the tests' process: to the tests' author, or to the candidate whose answers it reads."""

import signal
import time
from collections.abc import Callable

# Test programs in a process of their own work on their author's account, and may take longer than what they test.
TESTS_FACTOR = 10
# What tests do without end, having received less than this and no large number, is of their own making: not even numbers
# chosen to fall on one place of a hash table could keep them busy.
BULK_BYTES = 16 << 10
# Of a frame, what is there whatever it says: many small answers are no bulk.
FRAME_BYTES = 64
# Exit codes of a tests' process that is asked, by SIGUSR1, whether it waits for the candidate.
WAITED, WORKED = 77, 78
AT_ONCE = 1e-6  # a timer cannot be set to nothing


class Account:
    """While it is entered, the candidate pays; when it cannot, the kernel ends the process by SIGPROF.

    Not a check between steps: a single one, such as filling a set with numbers of one hash, may take hours.
    """

    def __init__(self, cpu_s: float, on_bulk: Callable[[], None]) -> None:
        """cpu_s: CPU seconds to pay for. on_bulk: called when so much was received that tests may be long at work on it."""
        self._left = cpu_s
        self._on_bulk = on_bulk
        self.in_bulk = False
        self._received = 0
        self._entered = 0
        self._since = 0.0

    def received(self, size: int) -> None:
        """Counts bytes that came from the candidate."""
        self._received += max(0, size - FRAME_BYTES)
        if self._received > BULK_BYTES:
            self.received_bulk()

    def received_bulk(self) -> None:
        """Records that so much came, or such a number, that tests may be long at work on it."""
        if not self.in_bulk:
            self.in_bulk = True
            self._on_bulk()

    def __enter__(self) -> None:
        self._entered += 1
        if self._entered == 1:
            self._since = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, max(self._left, AT_ONCE))

    def __exit__(self, *_: object) -> None:
        self._entered -= 1
        if self._entered == 0:
            signal.setitimer(signal.ITIMER_PROF, 0)
            # Not what the timer says is left: each time it is set, the kernel adds a tick.
            self._left -= time.process_time() - self._since
            if self._left <= 0:  # in short pieces, each of which was too short for the timer
                signal.raise_signal(signal.SIGPROF)
