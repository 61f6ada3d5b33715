"""Tests that many candidates share: sent to a judge once, and there kept as one object.

The judge remembers verdicts for as long as a tests object lives, so the same object for the same content is also
what lets a program that was sampled twice, or by two requests, be run once.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
import weakref
from collections import OrderedDict
from typing import Any

from alpharay.judge.problem import CallCase, CallTests, CodeTests, StdioCase, StdioTests, Tests
from alpharay.judge.workspace.repo import RepoTests

# What a judge keeps in memory, and keys remembered by those who send to it; the least recently used go first.
MOST_BYTES, MOST_KEYS = 256 << 20, 4096


# Of one content: its places here and in what the judge remembers of its programs.
_OVERHEAD = 2048


def footprint(tests: Tests) -> int:
    """Bytes of memory that such tests take: a hundred times those of their JSON text, where they are many small values."""
    if isinstance(tests, CodeTests):
        return _OVERHEAD + sys.getsizeof(tests.preamble) + sys.getsizeof(tests.code)
    if isinstance(tests, RepoTests):
        files = (*tests.files, *tests.hidden)
        return _OVERHEAD + sum(sys.getsizeof(path) + sys.getsizeof(content) for path, content in files)
    size = _OVERHEAD + sys.getsizeof(tests.preamble)
    waiting: list[Any] = [tests.cases]
    if isinstance(tests, CallTests):
        waiting += (tests.python_cases, tests.expected)  # which they keep once they are judged
    for program in (tests.checker, tests.interactor) if isinstance(tests, StdioTests) else ():
        waiting += () if program is None else (program.source, program.files)
    while waiting:
        value = waiting.pop()
        size += sys.getsizeof(value) + 8  # and what points to it
        if isinstance(value, StdioCase):
            waiting += (value.input, value.output)
        elif isinstance(value, CallCase):
            waiting += (value.args, value.kwargs, value.output)
        elif isinstance(value, dict):
            waiting += (*value, *value.values())
        elif isinstance(value, list | tuple):
            waiting += value
    return size


class SentTests:
    """The sender's side: the tests sent to the judges. A judge may drop them, and then asks for them again."""

    def __init__(self) -> None:
        self._keys: dict[int, str] = {}
        self._sent: OrderedDict[str, None] = OrderedDict()

    def key(self, tests: Tests) -> str:
        """The content's own name, worked out once per object."""
        if id(tests) not in self._keys:
            # Before the number can be given to another object.
            weakref.finalize(tests, self._keys.pop, id(tests), None).atexit = False
            self._keys[id(tests)] = hashlib.sha256(pickle.dumps(tests)).hexdigest()
        return self._keys[id(tests)]

    def add(self, key: str) -> None:
        self._sent[key] = None
        self._sent.move_to_end(key)
        while len(self._sent) > MOST_KEYS:
            self._sent.popitem(last=False)

    def __contains__(self, key: str) -> bool:
        return key in self._sent


class KnownTests:
    """The judge's side."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._known: OrderedDict[str, tuple[Tests, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: str, tests: Tests | None) -> Tests | None:
        """The one object with that content; `tests` becomes it where there is none yet."""
        if key in self._known:
            self._known.move_to_end(key)
        elif tests is not None:
            size = footprint(tests)
            self._known[key] = (tests, size)
            self._bytes += size
            while self._bytes > self._most and len(self._known) > 1:
                self._bytes -= self._known.popitem(last=False)[1][1]
        return self._known[key][0] if key in self._known else None
