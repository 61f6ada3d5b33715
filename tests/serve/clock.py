"""An event loop whose clock jumps: what waits for time waits no time at all.

While something can run, it runs; when everything waits, the clock jumps to the next timer. Deadlines of
minutes pass in microseconds and always in the same order. When everything waits and no timer is left,
nothing can ever happen any more, and the test fails instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from types import SimpleNamespace

# No test is about more than this; a loop that polls for ever ends here.
_END_OF_TIME_S = 1e6
# Another thread may still have something to say (real seconds).
_THREADS_S = 30.0


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout=None):
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            events = super().select(_THREADS_S)
            assert events, "everything waits and no timer is left: this would hang for ever"
            return events
        assert self.now < _END_OF_TIME_S, "something polls for ever"
        self.now += timeout
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def loop_time() -> SimpleNamespace:
    """Stands in for the module `time` of a file under test."""
    return SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time(), time=time.time)


async def pass_time(seconds: float) -> None:
    """Lets everything happen that happens within so many seconds of the jumping clock."""
    await asyncio.sleep(seconds)
