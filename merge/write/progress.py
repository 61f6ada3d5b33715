"""A line on the terminal while a merge runs; silent where nobody watches."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alpharay.merge.compute.plan import Plan

# Seconds between two updates of the line.
INTERVAL = 0.2


@contextmanager
def shown(plan: Plan) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of weights just written, and the line gone at the end."""
    total = sum(tensor.size for tensor in plan.sources[0].checkpoint.tensors.values())
    if not sys.stderr.isatty() or not total:
        yield lambda _: None
        return
    done, start, last = 0, time.monotonic(), 0.0

    def progress(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= INTERVAL:
            last = now
            left = (now - start) / done * (total - done)
            print(
                f"\r{done / total:4.0%} of {total / 1e6:.0f} M weights, {left:.0f} s left ",
                end="",
                file=sys.stderr,
            )

    try:
        yield progress
    finally:
        # Clears the line: the table or an error comes in its place.
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
