"""The two ends between a test program and a candidate: each asks the other, one at a time."""

import contextlib
import copy
import importlib
import json
import os
import random
import re
import sys
import threading
import types
from collections.abc import Callable, Iterable
from typing import Any

from alpharay.judge.guest.candidate import describe
from alpharay.judge.guest.code_tests import wire
from alpharay.judge.guest.code_tests.account import Account
from alpharay.judge.guest.code_tests.mirror import Mirrors
from alpharay.judge.guest.code_tests.stand_in import FIELDS, MISSING, OWN, SPECIALS, STEPS

LONGEST_ERROR = 1000  # characters of an error that are passed on
# What has attributes that lead into the tests' own text.
CLOSED = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.CodeType, types.FrameType, types.ModuleType,
          types.TracebackType, types.CoroutineType, types.AsyncGeneratorType)  # fmt: skip
# What `functools.wraps` reads of a function of the tests: it leads nowhere.
ABOUT = frozenset({"__name__", "__qualname__", "__doc__", "__module__"})
# What tests describe of their own functions and objects in a form of its own.
SHAPES = frozenset({"__signature__", "__dict__", FIELDS})
ENDS = (StopIteration, StopAsyncIteration, GeneratorExit)
# A number by which a loop of the tests could become long, also one written out.
LONG_LOOP = 10_000
DIGITS = re.compile(r"\d{5}|\de\d")


class Peer:
    """One end of the pipe pair. Asks, and while it waits for the answer, answers what it is asked in turn.

    strict: the tests' end. It answers calls of what it handed out, and reads attributes of instances alone; what the
    candidate claims of itself does not count (`stand_in`). account: what reading the other side's messages is charged to.
    """

    def __init__(
        self, read_end: int, write_end: int, *, strict: bool, account: Account | None = None
    ) -> None:
        self._read_end = read_end
        self._write_end = write_end
        self.strict = strict
        self._account = account
        self._charged: contextlib.AbstractContextManager[None] = account or contextlib.nullcontext()
        first = 1 if strict else 2
        self.mirrors = Mirrors(self, first)
        self.codec = wire.Codec(self.mirrors, first)
        self.hello: Callable[..., Any] | None = None
        # The program's names, whose changes are sent to the other side.
        self.space: dict[str, Any] = {}
        self.watched: dict[str, Any] = {}
        self.pulled: set[str] | None = None
        self.echo = False
        self._echoed = [0, 0]
        self.named_by_tests: frozenset[str] = frozenset()
        # Of several threads one asks at a time.
        self._turn = threading.RLock()
        # How it went, at the tests' end. questions: how many were asked.
        self.questions = 0
        self.waiting = False
        self.failure = ""
        self.last_error: tuple[BaseException, str] | None = None

    def call(self, subject: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.ask("do", subject, "__call__", args, tuple(kwargs.items()))

    def ask(self, *question: Any) -> Any:
        """The answer; an error of the other side is raised here, as the same one where that is known here."""
        with self._turn:
            return self._ask(question)

    def _ask(self, question: tuple[Any, ...]) -> Any:
        if self.failure:
            raise wire.Gone
        try:
            self.questions += 1
            self._send("ask", question)
            with self._charged:
                while True:
                    kind, parts = self._receive()
                    if kind == "ask":
                        self._answer(parts)
                        continue
                    if kind == "ok":
                        (value,) = parts
                        if self._account is not None and question[0] == "do" and not _is_flag(value):
                            # Tests that work as long as it says do not work on their author's account.
                            self._account.received_bulk()
                        return self._expected(question, value)
                    error, described = parts
                    break
        except wire.Gone:
            self.failure = self.failure or "the program ended before its tests did"
            raise
        self._raise(question, error, described)
        return None

    def serve(self) -> None:
        """Answers until the other side is gone."""
        while True:
            _, parts = self._receive()
            self._answer(parts)
            del parts

    def _expected(self, question: tuple[Any, ...], value: Any) -> Any:
        """Where the tests expect objects of a function or class, it is theirs to say how these compare."""
        if question[0] == "do" and question[2] == "__call__" and id(question[1]) in self.mirrors.makers:
            self.mirrors.expect(value, self.mirrors.makers[id(question[1])])
        return value

    def _raise(self, question: tuple[Any, ...], error: Any, described: Any) -> None:
        if not isinstance(error, BaseException):
            raise self._broken()
        steps = question[0] == "do" and question[2] in STEPS
        if self.strict and isinstance(error, ENDS) and not steps:
            kinds = {kind.__name__ for kind in type(error).__mro__}
            # It would only end `zip`, `map` or a loop of the tests.
            if not kinds & self.named_by_tests:
                error = RuntimeError(f"the program raised {type(error).__name__}")
        self.last_error = error, str(described)
        raise error

    def _broken(self) -> wire.Gone:
        """What the other side says cannot be read: it has failed, whatever becomes of the tests."""
        self.failure = "what it answered cannot be read"
        return wire.Gone()

    def _receive(self) -> tuple[str, tuple[Any, ...]]:
        self.waiting = True
        try:
            frame = wire.receive(self._read_end)
        except ValueError:
            raise self._broken() from None
        finally:
            self.waiting = False
        if self._account is not None:
            self._account.received(len(frame))
        try:
            return self._read(frame)
        except Exception:
            raise self._broken() from None

    def _read(self, frame: bytes) -> tuple[str, tuple[Any, ...]]:
        kind, payload, nodes, definitions, lost, unshared, names, printed = json.loads(frame)
        if self._account is not None and not self._account.in_bulk and _may_loop((payload, nodes, names)):
            self._account.received_bulk()
        scalars = wire.Reader(self.mirrors, {})
        for definition in definitions:
            self.mirrors.learn(definition, scalars.decode)
        with self.codec.reading(nodes) as reader:
            for name, *value in names:
                self._take(name, [reader.decode(each) for each in value])
            parts = tuple([reader.decode(part) for part in payload])
        if self.strict and kind == "ask" and not self._is_handed_out(payload, parts):
            raise ValueError("it asks something of what the tests never handed out")
        del reader  # which would keep all that it read
        # Only now: what was changed in the last one was sent once more.
        self.codec.forget(unshared)
        self.mirrors.forget(lost)
        if self.strict:
            for stream, text in zip((sys.stdout, sys.stderr), printed, strict=False):
                stream.write(text)
        return kind, parts

    def _take(self, name: str, value: list[Any]) -> None:
        if self.pulled is not None and name not in self.pulled:
            return
        if value:
            self.space[name] = self.watched[name] = value[0]
        else:
            self.space.pop(name, None)
            self.watched[name] = MISSING

    def _send(self, kind: str, parts: Iterable[Any]) -> None:
        limit = sys.getrecursionlimit()
        try:
            sys.setrecursionlimit(wire.DEEP)
            unshared = self.codec.let_go() if self.strict and kind == "ask" else []
            message = self.codec.message()
            payload = [message.encode(part) for part in parts]
            names = []
            for name, last in self.watched.items():
                now = self.space.get(name, MISSING)
                if now is not last:
                    self.watched[name] = now
                    names.append([name] if now is MISSING else [name, message.encode(now)])
            self.codec.finish(message)
            unshared += self.codec.sweep()
        finally:
            sys.setrecursionlimit(limit)
        lost, printed = self.mirrors.take_lost(), self._printed() if self.echo else []
        frame = [kind, payload, message.nodes, message.definitions, lost, unshared, names, printed]
        self.waiting = True  # for the other side to read it
        try:
            wire.send(self._write_end, frame)
        finally:
            self.waiting = False

    def is_failed_assertion(self, raised: tuple[Any, ...]) -> bool:
        """Whether `__exit__` is called for an assertion of the tests, which do not name AssertionError themselves."""
        error = raised[1] if len(raised) > 1 else None
        from_candidate = self.last_error is not None and self.last_error[0] is error
        return (
            isinstance(error, AssertionError)
            and not from_candidate
            and "AssertionError" not in self.named_by_tests
        )

    def _printed(self) -> list[str]:
        """What the program printed since the last message, for tests that read it."""
        printed = []
        for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
            with contextlib.suppress(Exception):
                stream.flush()
            try:
                size = os.fstat(descriptor).st_size
                data = os.pread(descriptor, size - self._echoed[descriptor - 1], self._echoed[descriptor - 1])
            except OSError:
                size, data = 0, b""
            self._echoed[descriptor - 1] = size
            printed.append(data.decode("utf-8", "replace"))
        return printed

    def skip_printed(self) -> None:
        self._printed()

    def _answer(self, question: tuple[Any, ...]) -> None:
        """What the question gave is held until it is answered: what was changed in it is a part of the answer."""
        try:
            value = self._do(*question)
        except wire.Gone:
            raise
        except BaseException as error:
            self._send_error(error)
            return
        try:
            self._send("ok", (value,))
        except wire.Gone:
            raise
        except BaseException as error:
            self._send_error(ValueError(f"its answer cannot be passed on: {type(error).__name__}: {error}"))

    def _send_error(self, error: BaseException) -> None:
        described = _description(error)
        try:
            self._send("raise", (_bare(error), described))
        except wire.Gone:
            raise
        except BaseException:
            self._send("raise", (RuntimeError(described), described))

    def _do(self, kind: str, *rest: Any) -> Any:
        if kind == "hello" and self.hello is not None:
            return self.hello(*rest)
        if kind == "seed" and not self.strict:
            return random.seed(*rest)
        subject, *rest = rest  # type: ignore[assignment]
        if kind == "do":
            name, args, kwargs = rest
            if name == "__call__":
                return subject(*args, **dict(kwargs))
            if name in SPECIALS:
                return _special(subject, name)(*args, **dict(kwargs))
            return getattr(subject, self._allowed(subject, name))(*args, **dict(kwargs))
        if kind == "get":
            if self.strict and rest[0] in SHAPES:
                return _shape(subject, rest[0])
            return getattr(subject, self._allowed(subject, rest[0]))
        if kind == "set":
            return setattr(subject, self._allowed(subject, rest[0], changes=True), rest[1])
        if kind == "del":
            return delattr(subject, self._allowed(subject, rest[0], changes=True))
        if kind == "item":
            return subject[rest[0]]
        if kind in ("copy", "deepcopy"):
            return getattr(copy, kind)(subject)
        raise TypeError("no such question")

    def _is_handed_out(self, payload: list[Any], parts: tuple[Any, ...]) -> bool:
        """Whether a question of the candidate's is about an object of the tests: one that went out by its number.

        What both processes have by name, such as a function of `operator`, the candidate has itself: called in the tests'
        process it would run there with whatever the candidate chose, and reach the tests' own globals.
        """
        if len(parts) < 2:
            return False
        reference = payload[1]
        if isinstance(reference, list) and len(reference) == 2 and reference[0] == "h":
            return self.mirrors.is_handed_out(reference[1])
        return type(parts[1]).__module__ in OWN

    def _allowed(self, subject: Any, name: Any, *, changes: bool = False) -> str:
        """The name of an attribute, where the other side may ask for it."""
        if not self.strict:
            return str(name)
        closed = isinstance(subject, CLOSED) or (
            isinstance(subject, types.GeneratorType) and name not in STEPS
        )
        own = type(subject).__module__ in OWN
        if name in ABOUT and not changes:
            return str(name)
        if not isinstance(name, str) or name.startswith("__") or closed or (changes and not own):
            raise AttributeError("not an attribute that the tests hand out")
        return name


def _shape(subject: Any, name: str) -> Any:
    """The signature of a function of the tests', the attributes of an object of theirs, the fields of a class."""
    if name == "__signature__" and isinstance(subject, types.FunctionType | types.MethodType):
        parameters = importlib.import_module("inspect").signature(subject).parameters.values()
        return tuple((each.name, int(each.kind), each.default is not each.empty) for each in parameters)
    if name == "__dict__" and type(subject).__module__ in OWN and not isinstance(subject, type):
        return {key: value for key, value in vars(subject).items() if not key.startswith("__")}
    if name == FIELDS and isinstance(subject, type) and subject.__module__ in OWN:
        return tuple(getattr(subject, FIELDS))
    raise AttributeError("not an attribute that the tests hand out")


def _special(subject: Any, name: str) -> Callable[..., Any]:
    method = getattr(type(subject), name)

    def bound(*args: Any, **kwargs: Any) -> Any:
        return method(subject, *args, **kwargs)

    return bound


def _bare(error: BaseException) -> BaseException:
    """Without what holds on to the frames that it came through, and what was in them."""
    error.__traceback__ = None
    error.__context__ = None
    return error


def _description(error: BaseException) -> str:
    try:
        return describe(error)[:LONGEST_ERROR]
    except BaseException:
        return type(error).__name__


def _is_flag(value: Any) -> bool:
    """Whether it says too little for tests to work long on it."""
    return value is None or value is True or value is False


def _may_loop(data: Any) -> bool:
    """Whether a number in there is such that tests which count to it would be long at it."""
    stack = [data]
    while stack:
        for each in stack.pop():
            if isinstance(each, list | tuple):
                stack.append(each)
            elif isinstance(each, str):
                if DIGITS.search(each) or each.startswith("0x"):
                    return True
            elif each is not None and not -LONG_LOOP < each < LONG_LOOP:
                return True
    return False
