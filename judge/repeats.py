"""The same program against the same tests is judged once."""

import weakref
from collections.abc import Hashable
from typing import Generic, TypeVar

from alpharay.judge.problem import Tests

Answer = TypeVar("Answer")

MOST = 4096


class Repeats(Generic[Answer]):
    """What is known about programs, for as long as somebody holds their tests.

    Tests are told apart by identity: a request parses its tests once and samples many programs for them, and
    comparing large tests by content would cost more than it saves.
    """

    def __init__(self) -> None:
        self._known: dict[int, dict[Hashable, Answer]] = {}

    def get(self, tests: Tests, key: Hashable) -> Answer | None:
        return self._known.get(id(tests), {}).get(key)

    def put(self, tests: Tests, key: Hashable, answer: Answer) -> None:
        if id(tests) not in self._known:
            # Before the number can be given to another object.
            weakref.finalize(tests, self._known.pop, id(tests), None).atexit = False
            self._known[id(tests)] = {}
        answers = self._known[id(tests)]
        if len(answers) < MOST or key in answers:
            answers[key] = answer

    def drop(self, tests: Tests, key: Hashable) -> None:
        self._known.get(id(tests), {}).pop(key, None)
