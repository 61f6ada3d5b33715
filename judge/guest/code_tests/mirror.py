"""Stand-ins for objects and classes of the other process.

A class of the other side becomes a class here, of the same name and with the same bases as far as the library has them, so
that `isinstance`, `except` and `len` do what they do there; its methods ask the other side. What is a number, a text, a
list … there is one here too, and compares as such.

In the tests' process a comparison, arithmetic or a look for an element is passed on to the candidate's own class only where
the other operand is the candidate's too, or where the tests expect an object of a class of its own
(`expecting.objects_of`): one that claims to equal everything would pass any test, and would be sent what it should be equal to.
"""

import collections.abc
import contextlib
import enum
import importlib
import operator
import weakref
from collections.abc import Callable
from typing import Any, cast

from alpharay.judge.guest.code_tests import values
from alpharay.judge.guest.code_tests.values import words
from alpharay.judge.guest.code_tests.wire import Message

_BINARY = words("add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift")
_IN_PLACE = frozenset(f"__i{name}__" for name in _BINARY)
COMPARISONS = frozenset(f"__{name}__" for name in words("eq ne lt le gt ge"))
GUARDED = (
    COMPARISONS | {"__contains__"} | {f"__{side}{name}__" for side in ("", "r", "i") for name in _BINARY}
)
# A number that only its own class says it is: for tests that ask for one, or expect such an object.
# Of data, what a test asks it about something else: an answer of the candidate's could be anything.
# What `unittest` and tests ask of a set or text, with what they expect: of an object that is neither, it means nothing.
SET_OR_TEXT = words("difference endswith isdisjoint issubset issuperset startswith symmetric_difference")
QUERIES = words(
    "count difference endswith find get index intersection isdisjoint issubset issuperset partition removeprefix "
    "removesuffix replace rfind rindex rpartition rsplit split startswith symmetric_difference union"
)
NUMBERS = words("__float__ __int__ __index__ __complex__")
_OTHERS = words(
    "call len iter next getitem setitem delitem reversed enter exit bool round trunc floor ceil abs neg pos invert hash "
    "str repr format bytes length_hint missing fspath dir"
)
SPECIALS = GUARDED | NUMBERS | {f"__{name}__" for name in _OTHERS}
# Attributes with a name of Python's own that a test may ask for.
READABLE = words(
    "__annotations__ __cause__ __closure__ __code__ __dataclass_fields__ __defaults__ __doc__ __func__ "
    "__kwdefaults__ __match_args__ __module__ __name__ __notes__ __qualname__ __self__ __wrapped__"
)
STEPS = frozenset({"__next__", "__anext__", "next", "send", "throw", "close"})
# Program texts, whose classes have methods worth a call of their own; those of the library are asked for by name.
OWN = frozenset({"candidate", "tests", "__main__"})
ENUMS = {
    "Enum": enum.Enum,
    "IntEnum": enum.IntEnum,
    "StrEnum": enum.StrEnum,
    "Flag": enum.Flag,
    "IntFlag": enum.IntFlag,
}
NUMBER, CLASS, PEER = (
    " number",
    " class",
    " peer",
)  # no identifiers: they clash with no attribute of the other side's
MISSING = object()
FIELDS = "__dataclass_fields__"
# Of exceptions: attributes that are in no dictionary.
SLOTS = ("filename", "filename2", "name", "path", "value", "code")


class Mirrored(type):
    """The class of classes that stand for one of the other side's."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._peer().call(cls, args, kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") and name not in READABLE:
            raise AttributeError(name)
        if name == FIELDS and not cls._peer().strict:
            return _fields(cls.__name__, cls._peer().ask("get", cls, name))
        # A class as an answer is no set and no text either.
        if cls._peer().strict and name in SET_OR_TEXT and cls not in cls._peer().mirrors.expected:
            raise AttributeError(name)
        return cls._peer().ask("get", cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        if name.startswith("_abc_") or name == "__abstractmethods__":
            type.__setattr__(cls, name, value)
        else:
            cls._peer().ask("set", cls, name, value)

    def __getitem__(cls, key: Any) -> Any:
        return cls._peer().ask("item", cls, key)

    def _peer(cls) -> Any:
        return type.__getattribute__(cls, PEER)


class Remote(metaclass=Mirrored):
    """The root of all stand-ins."""

    def __getattr__(self, name: str) -> Any:
        peer = _peer(self)
        if name == "__signature__" and not peer.strict:
            return _signature(peer.ask("get", self, name))
        if name == FIELDS and not peer.strict:
            return getattr(type(self), name)
        if name.startswith("__") and name not in READABLE:
            raise AttributeError(name)
        if peer.strict and name in SET_OR_TEXT and not peer.mirrors.may_decide(self, name, ()):
            raise AttributeError(name)
        return peer.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(self, BaseException) and name.startswith("__"):
            object.__setattr__(self, name, value)
        else:
            _peer(self).ask("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        _peer(self).ask("del", self, name)

    def __repr__(self) -> str:
        return str(_peer(self).ask("do", self, "__repr__", (), ()))

    def __copy__(self) -> Any:
        return _peer(self).ask("copy", self)

    def __deepcopy__(self, memo: Any) -> Any:
        return _peer(self).ask("deepcopy", self)

    def __del__(self) -> None:
        number = own_dict(self).get(NUMBER)
        if number is not None:
            _peer(self).mirrors.lost(number)


# A candidate reads `__dict__` of an object of the tests' as theirs: a stand-in's own is found by this.
own_dict: Any = Remote.__dict__["__dict__"].__get__
# What nobody can have called in the tests' process, even if a test hands it out.
_NEVER = frozenset(
    id(each) for each in (eval, exec, compile, __import__, globals, locals, super, operator.attrgetter)
)


def _signature(told: Any) -> Any:
    """Of a function of the tests: that a parameter has a default is told, and not which, which may be what they expect."""
    inspect = importlib.import_module("inspect")
    empty = inspect.Parameter.empty
    return inspect.Signature(
        [inspect.Parameter(name, kind, default=... if optional else empty) for name, kind, optional in told]
    )


def _fields(name: str, told: Any) -> Any:
    """By which `dataclasses` finds the fields of an object: those of a class of the same name and fields, made here."""
    dataclasses = importlib.import_module("dataclasses")
    return getattr(dataclasses.make_dataclass(name, told), FIELDS)


def _peer(stand_in: Any) -> Any:
    return type.__getattribute__(type(stand_in), PEER)


def _forwarder(name: str, doc: str | None = None) -> Any:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        peer = _peer(self)
        if (
            peer.strict
            and (
                name in GUARDED
                or name in NUMBERS
                or name in SET_OR_TEXT
                or (args and name in QUERIES and _data_base(self, name))
            )
            and not peer.mirrors.may_decide(self, name, args)
        ):
            return _by_value(self, name, args, kwargs)
        if peer.strict and name == "__exit__" and peer.is_failed_assertion(args):
            # An assertion of the tests that failed in a `with`: not for the candidate to read or to suppress.
            peer.ask("do", self, name, (None, None, None), ())
            return False
        return peer.ask("do", self, name, args, tuple(kwargs.items()))

    forward.__name__, forward.__doc__ = name, doc
    return forward


def _data_base(value: Any, name: str) -> Any:
    """The class of the library's data that it derives from and that has such a method; None: there is none."""
    return next(
        (each for each in type(value).__mro__ if each in values.WITH_BASE and name in vars(each)), None
    )


def _without_its_class(base: Any, value: Any) -> Any:
    """The value as plain data: methods of the library ask an object of a class of the candidate's for its items."""
    if base not in values.MUTABLE:
        return _copy(base, value)
    plain, tag = base(), values.MUTABLE[base]
    values.fill(plain, tag, values.content(value, tag))
    return plain


def _by_value(self: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the library's part of it says, which knows nothing of the candidate's."""
    base = _data_base(self, name)
    if base is not None:
        subject = self if name in _IN_PLACE else _without_its_class(base, self)
        return getattr(base, name)(subject, *map(_plain_argument, args), **kwargs)
    if name == "__contains__":
        return any(item is args[0] or item == args[0] for item in iter(self))
    if name in NUMBERS:
        raise TypeError(f"{type(self).__name__!r} is no number")
    if name in SET_OR_TEXT:
        raise AttributeError(f"{type(self).__name__!r} is neither a set nor a text")
    return NotImplemented


def _plain_argument(value: Any) -> Any:
    base = next((each for each in type(value).__mro__ if each in values.WITH_BASE), None)
    return value if base is None or not isinstance(value, Remote) else _without_its_class(base, value)


def _attribute(name: str) -> property:
    return property(lambda self: _peer(self).ask("get", self, name))


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
        self.numbers_asked = False

    def may_decide(self, stand_in: Any, name: str, args: tuple[Any, ...]) -> bool:
        """Whether the candidate's class may say how it compares."""
        if name in NUMBERS and self.numbers_asked:
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
            return self._theirs(value, message)
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
            return ["v", self.define(kind, message), value._name_, message.encode(_plain(value))]
        for base in values.WITH_BASE:
            if isinstance(value, base):
                if base in values.MUTABLE:
                    return [self._peer.codec.share(value, values.MUTABLE[base])]
                number, plain = self.keep(value), message.encode(_copy(base, value))
                return message.node(value, "v", [self.define(kind, message), number, plain])
        number = self.keep(value)
        self._handed.add(number)
        return ["o", number, self.define(kind, message)]

    def is_handed_out(self, number: Any) -> bool:
        """Whether the tests gave the other side that object, and did not only tell it by number what class something is of.

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

    def _theirs(self, value: Any, message: Message) -> Any:
        number = own_dict(value).get(NUMBER)
        if number is not None:
            return ["h", number]
        # Made here, such as by a namedtuple's `_replace`.
        base = next(base for base in values.FIXED if isinstance(value, base))
        return ["w", type.__getattribute__(type(value), CLASS), message.encode(_copy(base, value))]

    def place_of(self, value: Any, message: Message) -> list[Any]:
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
            message.definitions.append([number, *self._description(kind, message)])
        return number

    def _description(self, kind: type, message: Message) -> list[Any]:
        own = kind.__module__ in OWN
        if issubclass(kind, enum.Enum):
            return self._enumeration(kind, message)
        bases: list[Any] = []
        for base in kind.__bases__:
            if base in values.WITH_BASE or (issubclass(base, BaseException) and values.name_of(base)):
                bases.append(values.name_of(base))
            elif base.__module__ in OWN or issubclass(base, (BaseException, *values.WITH_BASE)):
                bases.append(self.define(base, message))
        parts = _parts(kind)
        special = {name for part in parts for name in vars(part) if name in SPECIALS}
        unhashable = getattr(kind, "__hash__", None) is None
        methods = [
            n for part in parts if own for n, v in vars(part).items() if callable(v) and _plain_name(n)
        ]
        methods = [
            name
            for name in methods
            if not isinstance(vars(kind).get(name), type | staticmethod | classmethod)
        ]
        hidden = [
            n for part in parts if own for n, v in vars(part).items() if not callable(v) and _plain_name(n)
        ]
        base = next((each for each in kind.__mro__ if each in values.WITH_BASE or each in _ERRORS), object)
        hidden = [name for name in hidden if hasattr(base, name)]
        fields = list(kind._fields) if issubclass(kind, tuple) and hasattr(kind, "_fields") else None
        fields = fields if fields and "_fields" in vars(kind) else None
        name = str(kind.__name__)
        documented = {"": kind, **{name: getattr(kind, name, None) for name in methods}} if own else {}
        doc = {n: v.__doc__ for n, v in documented.items() if isinstance(getattr(v, "__doc__", None), str)}
        library = None if own else [kind.__module__, kind.__qualname__]
        abstract = sorted({part.__name__ for part in kind.__mro__ if part.__module__ == "collections.abc"})
        return [
            name,
            bases,
            sorted(special),
            methods,
            hidden,
            unhashable,
            fields,
            library,
            doc,
            abstract,
            None,
        ]

    def _enumeration(self, kind: Any, message: Message) -> list[Any]:
        base = next(
            each.__name__ for each in kind.__mro__ if each.__name__ in ENUMS and each.__module__ == "enum"
        )
        mixed = next((each for each in (str, int, float, tuple) if issubclass(kind, each)), None)
        mixed = None if base in ("IntEnum", "StrEnum", "IntFlag") else mixed
        parts = [part for part in _parts(kind) if not issubclass(part, enum.Enum) or part.__module__ in OWN]
        special = {
            n
            for p in parts
            for n, v in vars(p).items()
            if n in SPECIALS and getattr(v, "__module__", "") in OWN
        }
        mine = [
            (n, v)
            for p in parts
            for n, v in vars(p).items()
            if not n.startswith("_") and n not in kind.__members__
        ]
        methods = [name for name, value in mine if callable(value)]
        statics = [name for name, value in mine if isinstance(value, staticmethod | classmethod)]
        attributes = [name for name, value in mine if type(value) is property]
        members = [[name, _inline(_plain(each), message)] for name, each in kind.__members__.items()]
        known = [base, mixed and mixed.__name__, members, statics]
        return [kind.__name__, [], sorted(special), methods, attributes, False, None, None, None, [], known]

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
        number, name, bases, special, methods, hidden, unhashable, fields, library, doc, abstract, members = (
            definition
        )
        if not all(isinstance(each, str) for each in (name, *special, *methods, *hidden)):
            raise ValueError("no class")
        hidden = [each for each in hidden if each not in SET_OR_TEXT]
        if members is not None:
            self._classes[number] = self._learn_enumeration(
                number, name, special, methods, hidden, members, decode
            )
            return
        home = "program" if library is None else "library"
        space: dict[str, Any] = {CLASS: number, PEER: self._peer, "__module__": home, "__doc__": doc.get("")}
        if not self._peer.strict and library is None:
            space["__dict__"] = _attribute("__dict__")
        space |= {each: _forwarder(each) for each in special if each in SPECIALS}
        space |= {each: _forwarder(each, doc.get(each)) for each in methods if _plain_name(each)}
        space |= {each: _attribute(each) for each in hidden if _plain_name(each)}
        made = [self._base(base) for base in bases]
        data = next((each for each in made if each in values.WITH_BASE), None)
        if data is not None:
            # Also those that it inherits: the library's own, in Python, would ask the candidate's class.
            space |= {each: _forwarder(each) for each in GUARDED - _IN_PLACE if hasattr(data, each)}
            space |= {each: _forwarder(each) for each in QUERIES if hasattr(data, each)}
            space.setdefault("__hash__", data.__hash__)
        if unhashable:
            space["__hash__"] = None
        elif "__eq__" in space and "__hash__" not in space:
            space["__hash__"] = object.__hash__
        if fields is not None:
            if tuple not in made:  # only `namedtuple` checks that they are names
                raise ValueError("no class")
            made = [values.namedtuple(name, fields) if base is tuple else base for base in made]
            space |= {each: _attribute_of_tuple(place, each) for place, each in enumerate(fields)}
        if library is not None:
            real = _library_class(*library)
            if real is not None:
                space["__class__"] = property(lambda _: real)
            if name in ("function", "method", "builtin_function_or_method"):
                space["__doc__"] = _attribute("__doc__")
        kinds = [base for base in made if isinstance(base, Mirrored)]
        rest = [base for base in made if not isinstance(base, Mirrored)]
        made_class = _new_class(name, [*kinds, *rest] if kinds else [Remote, *rest], space)
        for each in abstract:
            getattr(collections.abc, each).register(made_class)
        self._classes[number] = made_class

    def _base(self, base: Any) -> type:
        found = self._classes[base] if type(base) is int else values.named(*base[1:])
        if not isinstance(found, type):
            raise TypeError("no class")
        return found

    def _learn_enumeration(
        self, number: int, name: str, special: Any, methods: Any, hidden: Any, told: Any, decode: Any
    ) -> type:
        base, mixed, members, statics = told
        mixin = {"str": str, "int": int, "float": float, "tuple": tuple}.get(mixed)
        # A member or static method `__eq__` would be the class's comparison.
        if any(
            each.startswith("_") and each.endswith("_") for each in (*(key for key, _ in members), *statics)
        ):
            raise ValueError("no enumeration")
        methods, hidden, statics = (
            [each for each in names if each not in SET_OR_TEXT and not (mixin and each in QUERIES)]
            for names in (methods, hidden, statics)
        )
        pairs = [(str(key), _from_inline(value, decode)) for key, value in members]
        made: Any = ENUMS[base](name, pairs, type=mixin) if mixin else ENUMS[base](name, pairs)
        peer = self._peer
        type.__setattr__(made, CLASS, number)
        type.__setattr__(made, PEER, peer)

        def forward(name: str) -> Any:
            return lambda *args, **kwargs: peer.ask("do", args[0], name, args[1:], tuple(kwargs.items()))

        def static(name: str) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                return peer.ask("get", made, name)(*args, **kwargs)

            return staticmethod(call)

        def asked(name: str) -> property:
            return property(lambda self: peer.ask("get", self, name))

        def missing(self: Any, name: str) -> Any:
            if name.startswith("_") or name in SET_OR_TEXT:
                raise AttributeError(name)
            return peer.ask("get", self, name)

        for each in (*special, *methods):
            if (each in SPECIALS and each not in GUARDED and each != "__hash__") or (_plain_name(each)):
                type.__setattr__(made, each, static(each) if each in statics else forward(each))
        for each in statics:
            type.__setattr__(made, each, static(each))
        for each in hidden:
            if _plain_name(each):
                type.__setattr__(made, each, asked(each))
        type.__setattr__(made, "__getattr__", missing)
        return cast("type", made)

    def _stand_in(self, number: int, kind: Any, make: Callable[[], Any]) -> Any:
        found = self._stand_ins.get(number)
        if found is not None and type(found) is kind:
            return found
        made = make()
        own_dict(made)[NUMBER] = number
        self._lives[number] = self._lives.get(number, 0) + 1
        self._lost.discard(number)
        with contextlib.suppress(TypeError):  # tuples and integers can have no weak references
            self._stand_ins[number] = made
        return made

    def shell(self, base: Any, place: list[Any]) -> Any:
        how, number, *more = place
        if how == "h":
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
        return self._stand_in(own, kind, lambda: _made(base, kind, plain))

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


_ERRORS = (BaseException,)


def _inline(value: Any, message: Message) -> Any:
    """Of a definition, which is read before any container is."""
    if type(value) in (tuple, list):
        return ["T" if type(value) is tuple else "L", *(_inline(item, message) for item in value)]
    return message.encode(value)


def _from_inline(data: Any, decode: Any) -> Any:
    if isinstance(data, list) and data[0] in ("T", "L"):
        return (tuple if data[0] == "T" else list)(_from_inline(item, decode) for item in data[1:])
    return decode(data)


def _parts(kind: type) -> list[type]:
    """Of its bases those that the other side does not know."""
    known = (object, BaseException, Exception, *values.WITH_BASE)
    return [
        part
        for part in kind.__mro__
        if part not in known and not (issubclass(part, BaseException) and values.name_of(part))
    ]


def _plain_name(name: str) -> bool:
    return name.isidentifier() and not (name.startswith("__") and name.endswith("__"))


def _plain(member: Any) -> Any:
    """The value of an enumeration's member, without its class."""
    return member._value_


def _copy(base: type, value: Any) -> Any:
    """The value as one of the library's own class."""
    if base is str:
        return str.__str__(value)
    if base in (int, float, complex):
        return {int: int.__index__, float: float.__float__, complex: complex.__complex__}[base](value)
    if base in (tuple, frozenset, bytes):
        return base(base.__iter__(value)) if base is not bytes else bytes(memoryview(value))
    return _as_own(base, value)


def _as_own(base: Any, value: Any) -> Any:
    """Dates, times and fractions, by their parts."""
    name = base.__name__
    if name == "Decimal":
        return base(base.__str__(value))
    if name == "Fraction":
        return base(value.numerator, value.denominator)
    if name == "timedelta":
        return base(value.days, value.seconds, value.microseconds)
    if name == "date":
        return base(value.year, value.month, value.day)
    if name == "time":
        return base(value.hour, value.minute, value.second, value.microsecond, value.tzinfo)
    return base(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.tzinfo,
    )


def _made(base: Any, kind: type, plain: Any) -> Any:
    name = base.__name__
    if name == "Fraction":
        return base.__new__(kind, plain.numerator, plain.denominator)
    if name == "timedelta":
        return base.__new__(kind, plain.days, plain.seconds, plain.microseconds)
    if name in ("date", "time", "datetime"):
        return base.__new__(kind, *base.__reduce__(plain)[1])
    return base.__new__(kind, plain)


def _attribute_of_tuple(index: int, name: str) -> property:
    def get(self: Any) -> Any:
        value = tuple.__getitem__(self, index)
        if name in QUERIES and isinstance(value, Remote | Mirrored) and _peer(self).strict:
            raise TypeError(f"{name!r} is a field and answers no question about another value")
        return value

    return property(get)


def _library_class(module: Any, name: Any) -> type | None:
    """A class of the library that has no value of its own here, for `isinstance`."""
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if module == "builtins" and name in values.NAMELESS:
        return values.NAMELESS[name]
    try:
        found = values.named(module, name)
    except (ValueError, AttributeError, ImportError):
        return None
    return found if isinstance(found, type) else None


def _new_class(name: str, bases: list[type], space: dict[str, Any]) -> type:
    for some in (bases, [Remote]):
        try:
            return Mirrored(name, tuple(dict.fromkeys(some)), space)
        except TypeError:
            continue
    raise ValueError("no class")
