"""What a long command says on stderr while it runs."""

import sys
import time
from collections.abc import Callable
from typing import Self

# Seconds between two drawings of the line on a terminal.
REDRAW_S = 0.2
# Columns of the bar.
WIDTH = 24
# Returns the cursor to the first column and clears the line.
_CLEAR = "\r\x1b[K"


class ProgressLine:
    """A bar and a text, redrawn in place on a terminal; as a context manager, cleared at the end.

    every_s: seconds between two lines where stderr is not a terminal; None: none but that of `end`.
    """

    def __init__(self, *, every_s: float | None = None) -> None:
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._interval = REDRAW_S if self._terminal else every_s
        self._drawn = float("-inf") if self._terminal else self._started

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._clear()

    @property
    def seconds(self) -> float:
        """Since the start; never zero, so that it can divide."""
        return max(time.monotonic() - self._started, 1e-3)

    def show(self, done: int, total: int, text: Callable[[], str]) -> None:
        """Done of total, in any unit. text: called only when the line is due, so that a loop may show every step."""
        now = time.monotonic()
        if self._interval is None or now - self._drawn < self._interval:
            return
        self._drawn = now
        if self._terminal:
            bar = "#" * (WIDTH * done // max(1, total))
            print(f"{_CLEAR}[{bar:<{WIDTH}}] {text()}", end="", file=sys.stderr, flush=True)
        else:
            print(text(), file=sys.stderr, flush=True)

    def end(self, text: str) -> None:
        """The last state, on a terminal in place of the line."""
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._terminal:
            print(_CLEAR, end="", file=sys.stderr, flush=True)


def timed_lines() -> Callable[[str], None]:
    """Prints each line it is called with on stderr, after the seconds since now."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", file=sys.stderr, flush=True)

    return say
