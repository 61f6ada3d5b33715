"""The same program against the same tests is judged once."""

import hashlib
import sys
import weakref
from collections import OrderedDict
from typing import Generic, TypeVar

from alpharay.judge.problem import Tests
from alpharay.judge.verdict import Verdict

Answer = TypeVar("Answer")

MOST_BYTES = 64 << 20
# What an answer takes beside its verdict's texts: its own objects, its key, and its places here.
_OVERHEAD = 1600


def digest(source: str | None, *options: object) -> bytes:
    """A key for a program (None: there is none) and the options of its run, in a few bytes whatever its length."""
    text = repr((source is None, *options)) + "\0" + (source or "")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class ResultCache(Generic[Answer]):
    """Results of programs, for as long as their tests are referenced: the latest within a bound.

    Tests are compared by identity: a request parses its tests once and samples many programs for them, and
    comparing large tests by content would cost more than it saves.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._known: dict[int, dict[bytes, Answer]] = {}
        self._sizes: OrderedDict[tuple[int, bytes], int] = OrderedDict()  # the least recently used first
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def get(self, tests: Tests, key: bytes) -> Answer | None:
        answer = self._known.get(id(tests), {}).get(key)
        if answer is not None:
            self._sizes.move_to_end((id(tests), key))
        return answer

    def put(self, tests: Tests, key: bytes, answer: Answer) -> None:
        if id(tests) not in self._known:
            # Before the number can be given to another object.
            weakref.finalize(tests, self._forget, id(tests)).atexit = False
            self._known[id(tests)] = {}
        self.drop(tests, key)
        self._known[id(tests)][key] = answer
        self._resize((id(tests), key), _OVERHEAD)

    def weigh(self, tests: Tests, key: bytes, verdict: Verdict) -> None:
        """Counts the size of a verdict that has arrived, if its answer is still cached."""
        entry = (id(tests), key)
        if entry in self._sizes:
            texts = (verdict.detail, verdict.stdout, *verdict.outputs)
            self._resize(entry, _OVERHEAD + sum(map(sys.getsizeof, texts)))

    def drop(self, tests: Tests, key: bytes) -> None:
        self._remove((id(tests), key))

    def _resize(self, entry: tuple[int, bytes], size: int) -> None:
        self.bytes += size - self._sizes.get(entry, 0)
        self._sizes[entry] = size
        while self.bytes > self._most and len(self._sizes) > 1:
            self._remove(next(iter(self._sizes)))

    def _remove(self, entry: tuple[int, bytes]) -> None:
        if entry in self._sizes:
            self.bytes -= self._sizes.pop(entry)
            del self._known[entry[0]][entry[1]]

    def _forget(self, number: int) -> None:
        for key in self._known[number]:
            self.bytes -= self._sizes.pop((number, key))
        del self._known[number]
