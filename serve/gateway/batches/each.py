"""A batch whose requests are each answered by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from alpharay.serve.gateway.batches.lines import Line
from alpharay.serve.gateway.batches.outcomes import FAILED, OK
from alpharay.serve.gateway.batches.run import Answered, BatchRun


class EachRequest(BatchRun[int]):
    """What is in its outcomes already is not asked again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        done = set()
        for entry in self.outcomes:
            done.add(entry.index)
            self._count(entry.kind, entry.tokens)
        self._left = deque(index for index in range(len(self.lines)) if index not in done)

    def next(self) -> int | None:
        return self._left.popleft() if self._left else None

    def again(self, item: int) -> None:
        self._left.appendleft(item)

    def request(self, item: int) -> Line:
        return self.lines.read(item)

    def take(self, item: int, line: Line, answered: Answered) -> None:
        kind = OK if answered.status == 200 else FAILED
        self.outcomes.add(item, kind, answered.output_line(line), answered.tokens)
        self._count(kind, answered.tokens)

    def results(self) -> Iterator[tuple[int, str, bytes | None]]:
        left = set(range(len(self.lines)))
        for entry in self.outcomes:
            left.discard(entry.index)
            yield entry.index, entry.kind, entry.text
        for index in sorted(left):
            yield index, FAILED, None

    def _count(self, kind: str, tokens: tuple[int, int]) -> None:
        self.completed += kind == OK
        self.failed += kind == FAILED
        self.spent(tokens)
