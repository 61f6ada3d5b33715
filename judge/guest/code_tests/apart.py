"""A test program and a candidate in processes of their own: the candidate cannot see or patch its tests."""

import ast
import contextlib
import importlib.util
import os
import random
import signal
import sys
import threading
import unittest
from types import CodeType, ModuleType
from typing import Any

from alpharay.judge.guest import candidate
from alpharay.judge.guest.code_tests import expecting, runner
from alpharay.judge.guest.code_tests.account import TESTS_FACTOR, WAITED, WORKED, Account
from alpharay.judge.guest.code_tests.remote import Peer
from alpharay.judge.guest.code_tests.stand_in import MISSING, Mirrored
from alpharay.judge.guest.code_tests.together import BROKEN_TESTS, ERROR, PASSED, TESTS_NAME, describe, report
from alpharay.judge.guest.code_tests.wire import Gone

READ_END, WRITE_END = 4, 5
NEEDS_TOGETHER, RECEIVED_BULK = "N", "V"
REHEARSALS = 10
_main, _unittest_main = sys.modules["__main__"], unittest.main
MODULE = "__main__"  # what a test program takes itself for: it may run itself only then


def run_candidate(source: bytes, entry_point: str) -> int:
    """Loads the candidate, then answers the tests' questions until they end."""
    codes = candidate.compiled(source)
    if codes is None:
        os.write(candidate.REPORT, candidate.UNPARSABLE)
        return 1
    os.write(candidate.REPORT, candidate.READY)
    os.close(candidate.REPORT)
    space = candidate.candidate_module(codes, entry_point)
    peer = Peer(READ_END, WRITE_END, strict=False)
    try:
        candidate.execute(codes, space)
    except SystemExit as error:
        os.write(2, f"the program exited ({candidate.exit_code(error)}) before it could be tested".encode())
        return 1
    except BaseException as error:
        candidate.print_error(error, keep=2)
        return 1

    def hello(watched: tuple[str, ...], entry_point: str, classes: tuple[str, ...], echo: bool) -> Any:
        """The entry point, and which of the tests' classes the program does not have. The rest goes with the answer."""
        peer.space = space
        peer.watched = dict.fromkeys(watched, MISSING)
        peer.echo = echo
        if echo:
            peer.skip_printed()
        used = _names_used(codes)
        wanted = tuple(name for name in classes if name in used)
        try:
            return (True, candidate.find(space, entry_point) if entry_point else None, wanted)
        except (NameError, AttributeError):
            return (False, None, wanted)

    peer.hello = hello
    with contextlib.suppress(Gone):
        peer.serve()
    return 1 if peer.failure else 0


REHEARSAL = b"""
def check(candidate):
    assert candidate([1, 2], "a") == [(1, "a"), (2, "a")]
    assert candidate([], key=(1, None)) is None
"""


def rehearse() -> None:
    """In the server, once: asks and answers as children will, so that what is made fast on first use is so for all."""
    for _ in range(REHEARSALS):
        tree = ast.parse(REHEARSAL)
        code = compile(tree, TESTS_NAME, "exec", dont_inherit=True)
        names = expecting.all_names(tree)
        expecting.why_together(tree, names, set(expecting.foreign_names(code)))
        pipes = [os.pipe(), os.pipe()]
        (question_reader, question_writer), (answer_reader, answer_writer) = pipes
        answers = Peer(question_reader, answer_writer, strict=False)
        answers.hello = _example_hello
        other = threading.Thread(target=_serve, args=(answers,))
        other.start()
        try:
            with contextlib.suppress(runner.NothingRan):
                _Tests(Peer(answer_reader, question_writer, strict=True), tree, code, [], names, "f").run()
        finally:
            os.close(question_writer)
            other.join()
            for descriptor in (question_reader, answer_reader, answer_writer):
                os.close(descriptor)
    sys.modules["__main__"], unittest.main = _main, _unittest_main


def _serve(peer: Peer) -> None:
    with contextlib.suppress(Gone):
        peer.serve()


def _example_hello(*_: Any) -> Any:
    return True, _example, ()


def _example(items: list[int], key: Any) -> Any:
    return [(item, key) for item in items] or None


def _names_used(codes: list[CodeType]) -> set[str]:
    used: set[str] = set()
    stack = [*codes]
    while stack:
        inner = stack.pop()
        used |= set(inner.co_names)
        stack += [constant for constant in inner.co_consts if isinstance(constant, CodeType)]
    return used


def run_tests(tests: bytes, entry_point: str, cpu_s: float) -> int:
    """Runs the test program against the candidate at the other end and reports how that went.

    cpu_s: CPU seconds after which the server ends this process.
    """
    os.write(candidate.REPORT, candidate.READY)
    try:
        tree = ast.parse(tests, TESTS_NAME)
        code = compile(tree, TESTS_NAME, "exec", dont_inherit=True)
    except BaseException as error:
        report(BROKEN_TESTS, f"the test program does not compile: {type(error).__name__}: {error}")
        return 1
    names = expecting.all_names(tree)
    foreign = expecting.foreign_names(code)
    missing = missing_module(tree)
    if missing:
        report(BROKEN_TESTS, f"the test program needs {missing}, which is not there")
        return 1
    if expecting.needs_files(tree):
        report(BROKEN_TESTS, "the test program makes temporary files, which the sandbox does not allow")
        return 1
    reason = expecting.why_together(tree, names, set(foreign))
    if reason:
        report(NEEDS_TOGETHER, reason)
        return 1
    peer = Peer(
        READ_END,
        WRITE_END,
        strict=True,
        account=Account(cpu_s / TESTS_FACTOR, lambda: report(RECEIVED_BULK, "")),
    )
    # The side that owes an answer when nothing happens any more is the one that hangs.
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(WAITED if peer.waiting else WORKED))
    running = _Tests(peer, tree, code, foreign, names, entry_point)
    try:
        running.run()
    except runner.NothingRan as error:
        report(BROKEN_TESTS, str(error))
        return 1
    except BaseException as error:
        if peer.failure:
            report(ERROR, peer.failure)
        elif isinstance(error, OSError) and running.received_nothing():
            # Of the sandbox's making, as nothing of the candidate's was looked at yet.
            report(BROKEN_TESTS, f"the test program was refused by the sandbox: {type(error).__name__}")
        else:
            report(*_what_failed(error, peer))
        return 1
    if peer.failure:  # which the tests took for an error like any other
        report(ERROR, peer.failure)
        return 1
    report(PASSED, "")
    return 0


def _what_failed(error: BaseException, peer: Peer) -> tuple[str, str]:
    if peer.last_error is not None and peer.last_error[0] is error:
        return ERROR, peer.last_error[1]
    return describe(error)


class _Tests:
    """A test program while it is run."""

    def __init__(
        self,
        peer: Peer,
        tree: ast.Module,
        code: CodeType,
        foreign: list[str],
        names: frozenset[str],
        entry_point: str,
    ) -> None:
        self._peer = peer
        self._tree = tree
        self._code = code
        self._foreign = foreign
        self._entry_point = entry_point
        self._objects, self._compared = expecting.objects_of(tree, entry_point)
        self._seeds = "seed" in names
        self._before = 0
        self._taken: dict[str, Any] = {}
        self._echo = bool(names & expecting.PRINTED)
        peer.named_by_tests = names
        peer.mirrors.uses_numbers = bool(names & {"float", "int", "complex", "index"})

    def run(self) -> None:
        """Raises what the tests raise, and NothingRan."""
        peer = self._peer
        space = candidate.main_module(MODULE)
        space["__name__"] = MODULE
        own = expecting.defined(self._tree)
        changed = expecting.changed_globals(self._tree)
        classes = expecting.classes_to_share(self._tree)
        peer.space, peer.pulled = space, set(self._foreign)
        has_entry, entry, wanted = peer.ask(
            "hello", tuple(self._foreign), self._entry_point, tuple(classes), self._echo
        )
        taken = dict(peer.watched)
        modules = self._own_modules(space)
        for name, value in taken.items():
            self._expect(name, value)
        if entry is not None:
            self._expect(self._entry_point, entry)
            space.setdefault(self._entry_point.split(".", maxsplit=1)[0], entry)
        # From now on: what the candidate changes among its own, and what the tests change among the candidate's.
        peer.pulled = (set(self._foreign) - own - modules) | changed
        peer.watched = {name: taken.get(name, MISSING) for name in changed}
        peer.watched |= {name: MISSING for name in wanted if name in classes}
        before = self._before = peer.questions
        self._taken = taken
        if self._seeds:
            _seed_both(peer)
        cases = _without_main(space)
        exec(self._code, space)  # noqa: S102
        check = space.get("check")
        call = None
        if self._entry_point and callable(check) and not isinstance(check, Mirrored):
            if not has_entry:
                peer.failure = f"the program defines no {self._entry_point!r}"
                raise NameError(peer.failure)
            call = lambda: check(entry)  # noqa: E731
        elif (
            callable(check)
            and not cases
            and peer.questions == before
            and "check" in own
            and not self._reads(taken)
        ):
            raise runner.NothingRan("check(candidate) needs an entry_point")
        ran = peer.questions > before or self._reads(taken)
        if not cases:
            runner.run_all(space, MODULE, call, ran=ran)
        interacted = peer.questions > before or (call is not None and not _stands_in(entry))
        if not interacted and not self._reads(taken, anywhere=True) and not peer.failure:
            raise runner.NothingRan("the test program never asks anything of the program that it tests")

    def received_nothing(self) -> bool:
        """Whether all that went on was the tests' own."""
        peer = self._peer
        return 0 < self._before == peer.questions and not self._reads(self._taken, anywhere=True)

    def _expect(self, name: str, value: Any) -> None:
        if name in self._objects:
            compared = name in self._compared
            self._peer.mirrors.makers[id(value)] = compared
            if isinstance(value, type):
                self._peer.mirrors.expect(value, compared)

    def _own_modules(self, space: dict[str, Any]) -> set[str]:
        """Python's own modules are ours, whatever the candidate calls by their names, now or later. Returns their names."""
        replaced: set[str] = set()
        modules = expecting.modules_used(self._tree)
        for name in self._foreign:
            value = space.get(name, MISSING)
            known = name in sys.stdlib_module_names and (name in modules or isinstance(value, ModuleType))
            if known and value is not MISSING:
                space[name] = __import__(name)
                replaced.add(name)
        return replaced

    def _reads(self, taken: dict[str, Any], *, anywhere: bool = False) -> bool:
        """Whether the tests look at a value of the candidate's without asking for it."""
        values = {name for name, value in taken.items() if value is not MISSING and not _stands_in(value)}
        read = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)} if anywhere else None
        return bool(values & (read or expecting.reads_at_top(self._tree)) - sys.stdlib_module_names)


def _seed_both(peer: Peer) -> None:
    """What the tests seed the shared generator with, the candidate's is seeded with too: in plain Python there is one."""

    def seed(a: Any = None, version: int = 2) -> None:
        own(a, version)
        if type(a) in (int, str, float, bytes):
            peer.ask("seed", a, version)
            peer.questions -= 1

    own, random.seed = random.Random.seed.__get__(random.random.__self__), seed  # type: ignore[attr-defined]


def _stands_in(value: Any) -> bool:
    return isinstance(type(value), Mirrored) or isinstance(value, Mirrored | ModuleType)


def _without_main(space: dict[str, Any]) -> list[bool]:
    """`unittest.main()` runs the tests that are defined so far, and does not exit. Returns a list that is no longer empty once it was called."""
    called: list[bool] = []

    def main(*_: Any, **__: Any) -> None:
        called.append(True)
        runner.run_cases(runner.unittest_cases(space, MODULE))

    unittest.main = main  # type: ignore[assignment]
    return called


def missing_module(tree: ast.Module) -> str:
    """A module that the tests import and that is not there: no fault of any candidate's."""
    for node in tree.body:
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module.split(".")[0]]
        for name in modules:
            if name not in sys.modules and importlib.util.find_spec(name) is None:
                return name
    return ""
