"""A program that waits for a processor is told apart from one that sleeps."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from alpharay.judge.sandbox.occupied import occupied_s


@contextmanager
def running(program: str) -> Iterator[int]:
    """A process that has said that it began, by its descriptor."""
    command = [sys.executable, "-c", f"print(flush=True)\n{program}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        handle = os.pidfd_open(process.pid)
        try:
            yield handle
        finally:
            os.close(handle)
            process.send_signal(signal.SIGKILL)


def within(seconds: float, condition) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
    return True


def test_what_is_ready_to_run_is_never_idle_however_long_it_waits():
    """The kernel adds a wait to its count only when the wait is over."""
    with running("while True: pass") as handle:
        assert all(occupied_s(handle) == math.inf for _ in range(50))


def test_what_sleeps_is_idle_but_for_what_it_ran():
    with running("import time; time.sleep(600)") as handle:
        assert within(30, lambda: occupied_s(handle) < math.inf)
        assert occupied_s(handle) < 30


def test_what_has_ended_counts_as_asleep():
    with running("") as handle:
        assert within(30, lambda: occupied_s(handle) < math.inf)
