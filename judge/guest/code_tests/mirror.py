"""Stand-ins for objects and classes of the other process, encoded and decoded by their numbers.

A class of the other side becomes a class here, of the same name and with the same bases as far as the library has them, so
that `isinstance`, `except` and `len` do what they do there; its methods ask the other side (`stand_in`). What is a number, a
text, a list … there is one here too, and compares as such.
"""

import contextlib
import enum
import operator
import weakref
from collections.abc import Callable
from typing import Any, cast

from alpharay.judge.guest.code_tests import values
from alpharay.judge.guest.code_tests.definitions import class_of, description
from alpharay.judge.guest.code_tests.plain import copied, made_of, member_value
from alpharay.judge.guest.code_tests.stand_in import (
    CLASS,
    COMPARISONS,
    MISSING,
    NUMBER,
    NUMBERS,
    OWN,
    Mirrored,
    Remote,
    own_dict,
)
from alpharay.judge.guest.code_tests.wire import Message

# Of exceptions: attributes that are in no dictionary.
SLOTS = ("filename", "filename2", "name", "path", "value", "code")
# What nobody can have called in the tests' process, even if a test hands it out.
_NEVER = frozenset(
    id(each) for each in (eval, exec, compile, __import__, globals, locals, super, operator.attrgetter)
)


class Mirrors:
    """The stand-ins of one end, and the numbers of our own objects that have one at the other."""

    def __init__(self, peer: Any, first: int) -> None:
        self._peer = peer
        self._next = first
        self.kept: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._defined: set[int] = set()
        self._classes: dict[int, Any] = {}
        self._stand_ins: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._lives: dict[int, int] = {}
        self._lost: set[int] = set()
        # Classes of which the tests expect objects, and whether they compare these; the callables that make such objects.
        self._handed: set[int] = set()
        self.expected: dict[type, bool] = {}
        self.makers: dict[int, bool] = {}
        self.uses_numbers = False

    def may_decide(self, stand_in: Any, name: str, args: tuple[Any, ...]) -> bool:
        """Whether the candidate's class may say how it compares."""
        if name in NUMBERS and self.uses_numbers:
            return True
        if args and all(isinstance(each, Remote) for each in args):
            return True
        compares = name in COMPARISONS or name == "__contains__"
        expected = [self.expected[kind] for kind in type(stand_in).__mro__ if kind in self.expected]
        return any(expected) if compares else bool(expected)

    def expect(self, value: Any, compared: bool) -> None:
        """The tests expect objects of its class, or of such a class itself."""
        kind = value if isinstance(value, type) else type(value)
        if isinstance(kind, Mirrored) and type.__getattribute__(kind, "__module__") == "program":
            self.expected[kind] = self.expected.get(kind, False) or compared

    # Ours, on their way out.

    def keep(self, value: Any) -> int:
        number = self._numbers.get(id(value))
        if number is None:
            number, self._next = self._next, self._next + 2
            self.kept[number] = value
            self._numbers[id(value)] = number
        return number

    def forget(self, numbers: list[int]) -> None:
        for number in numbers:
            if number not in self._defined:
                self._handed.discard(number)
                value = self.kept.pop(number, MISSING)
                if value is not MISSING:
                    del self._numbers[id(value)]

    def encode(self, value: Any, message: Message) -> Any:
        kind = type(value)
        if isinstance(kind, Mirrored):
            return self._stand_in_reference(value, message)
        if kind is Mirrored:
            return ["h", type.__getattribute__(value, CLASS)]
        if CLASS in kind.__dict__:  # an enumeration of theirs
            return ["em", kind.__dict__[CLASS], value._name_, message.encode(value._value_)]
        if isinstance(value, BaseException):
            return self._exception(value, message)
        name = values.name_of(value, passive=not self._peer.strict)
        if name is not None:
            return name
        if isinstance(value, type):
            if CLASS in value.__dict__:
                return ["h", value.__dict__[CLASS]]
            number = self.define(value, message)
            self._handed.add(number)
            return ["K", number]
        if isinstance(value, enum.Enum):
            return ["v", self.define(kind, message), value._name_, message.encode(member_value(value))]
        for base in values.WITH_BASE:
            if isinstance(value, base):
                if base in values.MUTABLE:
                    return [self._peer.codec.share(value, values.MUTABLE[base])]
                number, plain = self.keep(value), message.encode(copied(base, value))
                return message.node(value, "v", [self.define(kind, message), number, plain])
        number = self.keep(value)
        self._handed.add(number)
        return ["o", number, self.define(kind, message)]

    def is_handed_out(self, number: Any) -> bool:
        """Whether the tests gave the other side that object, and did not only name by number the class of something.

        A class of the library's is none of theirs: called, it would make a `map` or an `attrgetter` in their process.
        """
        value = self.kept[number]
        return not isinstance(value, type) or value.__module__ in OWN or number in self._handed

    def _may_come_back(self, number: int) -> bool:
        """As a value: the class of something, unless a test that calls it would have a `map` or a function made."""
        value = self.kept[number]
        if id(value) in _NEVER:
            return False
        return self.is_handed_out(number) or not values.acts(value)

    def _stand_in_reference(self, value: Any, message: Message) -> Any:
        number = own_dict(value).get(NUMBER)
        if number is not None:
            return ["h", number]
        # Made here, such as by a namedtuple's `_replace`.
        base = next(base for base in values.FIXED if isinstance(value, base))
        return ["w", type.__getattribute__(type(value), CLASS), message.encode(copied(base, value))]

    def reference_to(self, value: Any, message: Message) -> list[Any]:
        if isinstance(value, Remote):
            return ["h", own_dict(value)[NUMBER]]
        return ["v", self.define(type(value), message), self.keep(value)]

    def _exception(self, error: BaseException, message: Message) -> Any:
        kind = type(error)
        named = values.name_of(kind)
        own = None if named else self.keep(error)
        state = [(k, v) for k, v in (getattr(error, "__dict__", None) or {}).items() if isinstance(k, str)]
        state += [(k, getattr(error, k)) for k in SLOTS if isinstance(getattr(error, k, None), str)]
        cause = error.__cause__
        fields = (
            named or self.define(kind, message),
            own,
            message.encode(_arguments(error)),
            message.encode(tuple(state)),
            message.encode(cause),
        )
        return message.node(error, "x", list(fields))

    def define(self, kind: type, message: Message) -> int:
        number = self.keep(kind)
        if number not in self._defined:
            self._defined.add(number)
            message.definitions.append([number, *description(kind, message, self.define)])
        return number

    # Theirs, on their way in.

    def lost(self, number: int) -> None:
        left = self._lives.get(number, 1) - 1
        self._lives[number] = left
        if left <= 0:
            del self._lives[number]
            self._lost.add(number)

    def take_lost(self) -> list[int]:
        lost, self._lost = self._lost, set()
        return list(lost)

    def learn(self, definition: list[Any], decode: Any) -> None:
        """Makes a class as the other side describes it."""
        number, *details = definition
        self._classes[number] = class_of(number, details, self._peer, self._base, decode)

    def _base(self, base: Any) -> type:
        kind = self._classes[base] if type(base) is int else values.named(*base[1:])
        if not isinstance(kind, type):
            raise TypeError("no class")
        return kind

    def _stand_in(self, number: int, kind: Any, make: Callable[[], Any]) -> Any:
        existing = self._stand_ins.get(number)
        if existing is not None and type(existing) is kind:
            return existing
        made = make()
        own_dict(made)[NUMBER] = number
        self._lives[number] = self._lives.get(number, 0) + 1
        self._lost.discard(number)
        with contextlib.suppress(TypeError):  # tuples and integers can have no weak references
            self._stand_ins[number] = made
        return made

    def shell(self, base: Any, reference: list[Any]) -> Any:
        tag, number, *more = reference
        if tag == "h":
            return self.kept[number]
        kind = self._classes[number]
        if not issubclass(kind, base):
            raise TypeError("no such container")
        return self._stand_in(more[0], kind, lambda: base.__new__(kind))

    def decode(self, tag: str, fields: list[Any], decode: Any) -> Any:
        if tag == "h":
            if self._peer.strict and not self._may_come_back(fields[0]):
                raise ValueError("nothing that the tests handed out")
            return self.kept[fields[0]]
        if tag == "g":
            return values.named(*fields, passive=self._peer.strict)
        if tag == "K":
            return self._classes[fields[0]]
        if tag == "o":
            kind = self._classes[fields[1]]
            return self._stand_in(fields[0], kind, lambda: object.__new__(kind))
        if tag == "v":
            return self._decode_value(*fields, decode=decode)
        if tag == "w":
            plain = decode(fields[1])
            base: Any = next(base for base in values.FIXED if isinstance(plain, base))
            return base.__new__(self.kept[fields[0]], plain)
        if tag == "em":
            kind = self.kept[fields[0]]
            return kind[fields[1]] if fields[1] in kind.__members__ else kind(decode(fields[2]))
        if tag == "x":
            return self._decode_exception(*fields, decode=decode)
        raise ValueError("not a value")

    def _decode_value(self, number: int, own: Any, plain: Any, *, decode: Any) -> Any:
        kind, plain = self._classes[number], decode(plain)
        if issubclass(kind, enum.Enum):
            return kind[own] if own in kind.__members__ else kind(plain)
        base: Any = next(base for base in values.FIXED if issubclass(kind, base))
        return self._stand_in(own, kind, lambda: made_of(base, kind, plain))

    def _decode_exception(
        self, which: Any, own: Any, args: Any, state: Any, cause: Any, *, decode: Any
    ) -> Any:
        kind = self._classes[which] if type(which) is int else values.named(*which[1:])
        if not issubclass(kind, BaseException):
            raise TypeError("no exception")
        args, pairs, make_new = decode(args), dict(decode(state)), cast("Any", kind).__new__

        def make() -> Any:
            error: Any = None
            if not isinstance(kind, Mirrored):
                try:
                    error = kind(*args)
                except Exception:
                    error = None
            if error is None:
                try:
                    error = make_new(kind, *args)
                except Exception:
                    error = make_new(kind)
            BaseException.args.__set__(error, args)  # type: ignore[attr-defined]
            for name, value in pairs.items():
                if not name.startswith("__") or name == "__notes__":
                    _set(error, name, value)
            reason = decode(cause)
            if isinstance(reason, BaseException):
                error.__cause__ = reason
            return error

        return self._stand_in(own, kind, make) if own is not None else make()


def _arguments(error: BaseException) -> tuple[Any, ...]:
    """A group is made of what is in it: that must be there before."""
    if isinstance(error, BaseExceptionGroup):
        return error.message, tuple(error.exceptions)
    return error.args


def _set(error: Any, name: str, value: Any) -> None:
    try:
        object.__setattr__(error, name, value)
    except (AttributeError, TypeError):
        error.__dict__[name] = value
