"""Work on threads whose results come in the order of the work."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """function(item) for every item, in order, computed by `threads` threads.

    At most `threads` results wait while one is used, so memory is bounded. An exception in `function` comes
    out at its place; what has not started by then never does.
    """
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="merge") as pool:
        try:
            for item in items:
                if len(running) > threads:
                    yield running.popleft().result()
                running.append(pool.submit(function, item))
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
