"""Follows one chat request through the ingress process and prints what a reader must hold: files, functions, changes of file.

    python -m tests.serve.trace_request            # the table
    python -m tests.serve.trace_request --calls    # every call, in its order

The request has a budget of 5 and tests. Engines and judge are faked behind the seams, so what is counted is the ingress
half: from the application's first line to the answer's last byte.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from .fakes import TESTS, Serving

ROOT = Path(__file__).parents[2]
PARTS = tuple(f"{ROOT / part}/" for part in ("alpharay", "judge", "merge", "router", "serve"))


class Trace:
    """Calls of alpharay's own functions, in their order. Comprehensions and lambdas are part of who holds them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PARTS) and "<" not in code.co_name:
            self.calls.append((str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname))

    @property
    def files(self) -> Counter[str]:
        return Counter(file for file, _ in self.calls)

    @property
    def functions(self) -> int:
        return len(set(self.calls))

    @property
    def changes(self) -> int:
        """How often the next call is in another file than the last."""
        return sum(earlier[0] != later[0] for earlier, later in zip(self.calls, self.calls[1:], strict=False))


async def traced() -> Trace:
    serving, trace = Serving(), Trace()
    await serving.all_up()
    controls = {"budget": 5, "tests": TESTS, "stop_after_passes": 5}
    await serving.answer(alpharay=controls)  # what is made at first use is no part of a request
    sys.setprofile(trace)
    try:
        await serving.answer(alpharay=controls)
    finally:
        sys.setprofile(None)
    serving.finish()
    return trace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", action="store_true", help="every call, in its order")
    arguments = parser.parse_args()
    trace = asyncio.run(traced())
    if arguments.calls:
        for file, function in trace.calls:
            print(f"{file}:{function}")
    for file, calls in trace.files.most_common():
        print(f"{calls:5} calls  {file}")
    print(f"{len(trace.files)} files, {trace.functions} functions, {trace.changes} changes of file")


if __name__ == "__main__":
    main()
