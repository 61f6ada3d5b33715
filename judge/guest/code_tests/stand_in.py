"""Classes and objects that stand for those of the other process, and what they do without asking it.

In the tests' process a comparison, arithmetic or a look for an element is passed on to the candidate's own class only where
the other operand is the candidate's too, or where the tests expect an object of a class of its own
(`expecting.objects_of`): one that claims to equal everything would pass any test, and would be sent what it should be equal to.
"""

import importlib
from typing import Any

from alpharay.judge.guest.code_tests import values
from alpharay.judge.guest.code_tests.plain import data_base, without_its_class
from alpharay.judge.guest.code_tests.values import words

_BINARY = words("add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift")
IN_PLACE = frozenset(f"__i{name}__" for name in _BINARY)
COMPARISONS = frozenset(f"__{name}__" for name in words("eq ne lt le gt ge"))
GUARDED = (
    COMPARISONS | {"__contains__"} | {f"__{side}{name}__" for side in ("", "r", "i") for name in _BINARY}
)
# What `unittest` and tests ask of a set or text, with what they expect: of an object that is neither, it means nothing.
SET_OR_TEXT = words("difference endswith isdisjoint issubset issuperset startswith symmetric_difference")
# Of data, what a test asks it about something else: an answer of the candidate's could be anything.
QUERIES = words(
    "count difference endswith find get index intersection isdisjoint issubset issuperset partition removeprefix "
    "removesuffix replace rfind rindex rpartition rsplit split startswith symmetric_difference union"
)
# A number that only its own class says it is: for tests that ask for one, or expect such an object.
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
# No identifiers: they clash with no attribute of the other side's.
NUMBER, CLASS, PEER = " number", " class", " peer"
MISSING = object()
FIELDS = "__dataclass_fields__"


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
        peer = peer_of(self)
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
            peer_of(self).ask("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        peer_of(self).ask("del", self, name)

    def __repr__(self) -> str:
        return str(peer_of(self).ask("do", self, "__repr__", (), ()))

    def __copy__(self) -> Any:
        return peer_of(self).ask("copy", self)

    def __deepcopy__(self, memo: Any) -> Any:
        return peer_of(self).ask("deepcopy", self)

    def __del__(self) -> None:
        number = own_dict(self).get(NUMBER)
        if number is not None:
            peer_of(self).mirrors.lost(number)


# A candidate reads `__dict__` of an object of the tests' as theirs: a stand-in's own is found by this.
own_dict: Any = Remote.__dict__["__dict__"].__get__


def _signature(parameters: Any) -> Any:
    """Of a function of the tests: that a parameter has a default is passed on, and not which, which may be what they expect."""
    inspect = importlib.import_module("inspect")
    empty = inspect.Parameter.empty
    return inspect.Signature(
        [
            inspect.Parameter(name, kind, default=... if optional else empty)
            for name, kind, optional in parameters
        ]
    )


def _fields(name: str, field_names: Any) -> Any:
    """By which `dataclasses` finds the fields of an object: those of a class of the same name and fields, made here."""
    dataclasses = importlib.import_module("dataclasses")
    return getattr(dataclasses.make_dataclass(name, field_names), FIELDS)


def peer_of(stand_in: Any) -> Any:
    return type.__getattribute__(type(stand_in), PEER)


def forwarder(name: str, doc: str | None = None) -> Any:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        peer = peer_of(self)
        if (
            peer.strict
            and (
                name in GUARDED
                or name in NUMBERS
                or name in SET_OR_TEXT
                or (args and name in QUERIES and data_base(self, name))
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


def _by_value(self: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the library's part of it says, which knows nothing of the candidate's."""
    base = data_base(self, name)
    if base is not None:
        subject = self if name in IN_PLACE else without_its_class(base, self)
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
    return value if base is None or not isinstance(value, Remote) else without_its_class(base, value)


def attribute(name: str) -> property:
    return property(lambda self: peer_of(self).ask("get", self, name))


def attribute_of_tuple(index: int, name: str) -> property:
    def get(self: Any) -> Any:
        value = tuple.__getitem__(self, index)
        if name in QUERIES and isinstance(value, Remote | Mirrored) and peer_of(self).strict:
            raise TypeError(f"{name!r} is a field and answers no question about another value")
        return value

    return property(get)
