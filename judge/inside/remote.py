"""Objects of the other process: a stand-in for each, and the two ends that ask each other."""

import builtins
import contextlib
import json
from collections.abc import Callable
from typing import Any

from alpharay.judge.inside import wire
from alpharay.judge.inside.account import Account
from alpharay.judge.inside.candidate import describe


class CandidateError(Exception):
    """An error of a class that only the candidate has."""


class Remote:
    """Stands for an object of the other process.

    It can be called, iterated, indexed, measured and asked for attributes and methods; two of them can be
    compared and combined, which their own classes then decide. Against a plain value it is never equal and
    never more nor less: an object that claims to equal everything would pass any test.
    """

    __slots__ = ("_number", "_peer")

    def __init__(self, peer: "Peer", number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __del__(self) -> None:
        self._peer.dropped.append(self._number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._peer.call(self._number, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.ask("get", self._number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._peer.ask("set", self._number, name, self._peer.codec.encode(value))

    def __iter__(self) -> Any:
        return self._peer.ask("op", self._number, "iter")

    def __next__(self) -> Any:
        return self._peer.ask("op", self._number, "next")

    def __len__(self) -> Any:
        return self._peer.ask("op", self._number, "len")

    def __bool__(self) -> bool:
        return bool(self._peer.ask("op", self._number, "bool"))

    def __str__(self) -> str:
        return str(self._peer.ask("op", self._number, "str"))

    def __repr__(self) -> str:
        return str(self._peer.ask("op", self._number, "repr"))

    def __getitem__(self, key: Any) -> Any:
        return self._peer.ask("op", self._number, "getitem", self._peer.codec.encode(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        encode = self._peer.codec.encode
        self._peer.ask("op", self._number, "setitem", encode(key), encode(value))

    def __contains__(self, item: Any) -> bool:
        return bool(self._peer.ask("op", self._number, "contains", self._peer.codec.encode(item)))

    def __enter__(self) -> Any:
        return self._peer.ask("op", self._number, "enter")

    def __exit__(self, *_: object) -> None:
        self._peer.ask("op", self._number, "exit")

    def _with(self, name: str, other: object) -> Any:
        if not isinstance(other, Remote):
            return NotImplemented
        return self._peer.ask("op", self._number, name, self._peer.codec.encode(other))

    def __eq__(self, other: object) -> Any:
        return self is other or (isinstance(other, Remote) and self._with("eq", other))

    def __ne__(self, other: object) -> Any:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._number)

    def __lt__(self, other: object) -> Any:
        return self._with("lt", other)

    def __le__(self, other: object) -> Any:
        return self._with("le", other)

    def __gt__(self, other: object) -> Any:
        return self._with("gt", other)

    def __ge__(self, other: object) -> Any:
        return self._with("ge", other)

    def __add__(self, other: object) -> Any:
        return self._with("add", other)

    def __sub__(self, other: object) -> Any:
        return self._with("sub", other)

    def __mul__(self, other: object) -> Any:
        return self._with("mul", other)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
    "getitem": lambda a, key: a[key],
    "setitem": lambda a, key, value: a.__setitem__(key, value),
    "contains": lambda a, item: item in a,
    "enter": lambda a: a.__enter__(),
    "exit": lambda a: a.__exit__(None, None, None),
    "eq": lambda a, b: bool(a == b),
    "lt": lambda a, b: bool(a < b),
    "le": lambda a, b: bool(a <= b),
    "gt": lambda a, b: bool(a > b),
    "ge": lambda a, b: bool(a >= b),
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}
# What the candidate may do with what a test handed to it: call it, iterate over it.
FOR_STRANGERS = frozenset({"iter", "next"})


class Peer:
    """One end of the pipe pair. Asks, and while it waits for the answer, answers what it is asked in turn.

    open_to_all: answer every kind of question about our objects, as the candidate's end does; the tests' end
    answers only calls of functions and steps of iterators that it handed out itself.
    account: what reading the other side's words, and what it asks for, is charged to.
    """

    def __init__(self, hears: int, says: int, *, open_to_all: bool, account: Account | None = None) -> None:
        self._hears = hears
        self._says = says
        self._open = open_to_all
        self._account = account
        self._charged: contextlib.AbstractContextManager[None] = account or contextlib.nullcontext()
        self._kept: dict[int, Any] = {}
        self._next = 1
        self.dropped: list[int] = []
        self.names: Callable[[list[str], str], list[Any]] | None = None
        self.codec = wire.Codec(self._keep, self._stand_in, self._kept.__getitem__, self._number_of)

    def ask(self, *question: Any) -> Any:
        """The decoded answer; an error of the other side is raised here as the same built-in error."""
        dropped, self.dropped = self.dropped, []
        wire.send(self._says, ["ask", dropped, *question])
        with self._charged:
            while True:
                kind, *rest = self._hear()
                if kind == "ask":
                    self._answer(rest)
                elif kind == "ok":
                    return self.codec.decode(rest[0])
                else:
                    raise _error(*rest)

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call there; what it changed in lists, dicts and sets given to it is changed in ours."""
        sent = [self.codec.encode(value) for value in args]
        named = {str(name): self.codec.encode(value) for name, value in kwargs.items()}
        value, changed = self.ask("call", number, sent, named)
        for place, now in changed.items():
            _overwrite(args[place], now)
        return value

    def serve(self) -> None:
        """Answers until the other side is gone."""
        while True:
            _, *question = self._hear()
            self._answer(question)

    def _hear(self) -> Any:
        frame = wire.receive(self._hears)
        if self._account is not None:
            self._account.heard(len(frame))
        return json.loads(frame)

    def _answer(self, question: list[Any]) -> None:
        dropped, kind, *rest = question
        for number in dropped:
            self._kept.pop(number, None)
        try:
            answer = ["ok", self.codec.encode(self._do(kind, rest))]
        except wire.Gone:
            raise
        except BaseException as error:
            answer = ["raise", type(error).__name__, *_told(error)]
        try:
            wire.send(self._says, answer)
        except ValueError as error:
            wire.send(self._says, ["raise", "ValueError", str(error), str(error)])

    def _do(self, kind: str, rest: list[Any]) -> Any:
        decode = self.codec.decode
        if kind == "names" and self.names is not None:
            return self.names(*rest)
        number, *rest = rest
        subject = self._kept[number]
        if kind == "call" and (self._open or callable(subject)):
            args = [decode(item) for item in rest[0]]
            value = subject(*args, **{name: decode(item) for name, item in rest[1].items()})
            return value, self._changes(rest[0], args)
        if kind == "op" and (self._open or rest[0] in FOR_STRANGERS):
            return OPERATIONS[rest[0]](subject, *(decode(item) for item in rest[1:]))
        if kind == "get" and self._open:
            return getattr(subject, rest[0])
        if kind == "set" and self._open:
            return setattr(subject, rest[0], decode(rest[1]))
        raise TypeError("the tests' objects can only be called and iterated over")

    def _changes(self, before: list[Any], args: list[Any]) -> dict[int, Any]:
        """The arguments that a call changed in place."""
        changed = {}
        for place, (was, value) in enumerate(zip(before, args, strict=True)):
            if type(value) in (list, dict, set, bytearray) and self.codec.encode(value) != was:
                changed[place] = value
        return changed

    def _keep(self, value: Any) -> int:
        number, self._next = self._next, self._next + 1
        self._kept[number] = value
        return number

    def _stand_in(self, number: int) -> Remote:
        return Remote(self, number)

    def _number_of(self, value: Any) -> int | None:
        return value._number if type(value) is Remote else None  # noqa: SLF001 - its own other half


def _overwrite(ours: Any, now: Any) -> None:
    if type(ours) is not type(now):
        return
    if isinstance(ours, list | bytearray):
        ours[:] = now
    elif isinstance(ours, dict | set):
        ours.clear()
        ours.update(now)


def _told(error: BaseException) -> tuple[str, str]:
    try:
        return str(error)[:1000], describe(error)
    except BaseException:
        return "", type(error).__name__


def _error(name: str, text: str, described: str) -> BaseException:
    """As the same built-in error where there is one; a candidate that exits has only failed a call."""
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = CandidateError
    try:
        error: BaseException = kind(text)
    except TypeError:  # such as UnicodeDecodeError, which takes five arguments
        error = CandidateError(text)
    error.__notes__ = [described]
    return error
