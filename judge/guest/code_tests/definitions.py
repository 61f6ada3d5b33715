"""How a class is described to the other process, and the class that is made of a description there.

A description is a list: name, bases, special methods, methods, attributes, whether it is unhashable, fields of a named tuple, place
in the library, texts of documentation, abstract classes of the library's, and of an enumeration its members.
"""

import collections.abc
import enum
from collections.abc import Callable
from typing import Any, cast

from alpharay.judge.guest.code_tests import values
from alpharay.judge.guest.code_tests.plain import member_value
from alpharay.judge.guest.code_tests.stand_in import (
    CLASS,
    GUARDED,
    IN_PLACE,
    OWN,
    PEER,
    QUERIES,
    SET_OR_TEXT,
    SPECIALS,
    Mirrored,
    Remote,
    attribute,
    attribute_of_tuple,
    forwarder,
)
from alpharay.judge.guest.code_tests.wire import Message

Define = Callable[[type, Message], int]
ENUMS = {
    "Enum": enum.Enum,
    "IntEnum": enum.IntEnum,
    "StrEnum": enum.StrEnum,
    "Flag": enum.Flag,
    "IntFlag": enum.IntFlag,
}
_ERRORS = (BaseException,)


def description(kind: type, message: Message, define: Define) -> list[Any]:
    """define: gives the number of a class that it mentions, and describes that first where need be."""
    own = kind.__module__ in OWN
    if issubclass(kind, enum.Enum):
        return _enumeration(kind, message)
    bases: list[Any] = []
    for base in kind.__bases__:
        if base in values.WITH_BASE or (issubclass(base, BaseException) and values.name_of(base)):
            bases.append(values.name_of(base))
        elif base.__module__ in OWN or issubclass(base, (BaseException, *values.WITH_BASE)):
            bases.append(define(base, message))
    parts = _parts(kind)
    special = {name for part in parts for name in vars(part) if name in SPECIALS}
    unhashable = getattr(kind, "__hash__", None) is None
    methods = [n for part in parts if own for n, v in vars(part).items() if callable(v) and _plain_name(n)]
    methods = [
        name for name in methods if not isinstance(vars(kind).get(name), type | staticmethod | classmethod)
    ]
    hidden = [n for part in parts if own for n, v in vars(part).items() if not callable(v) and _plain_name(n)]
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


def _enumeration(kind: Any, message: Message) -> list[Any]:
    base = next(
        each.__name__ for each in kind.__mro__ if each.__name__ in ENUMS and each.__module__ == "enum"
    )
    mixed = next((each for each in (str, int, float, tuple) if issubclass(kind, each)), None)
    mixed = None if base in ("IntEnum", "StrEnum", "IntFlag") else mixed
    parts = [part for part in _parts(kind) if not issubclass(part, enum.Enum) or part.__module__ in OWN]
    special = {
        n for p in parts for n, v in vars(p).items() if n in SPECIALS and getattr(v, "__module__", "") in OWN
    }
    own = [
        (n, v)
        for p in parts
        for n, v in vars(p).items()
        if not n.startswith("_") and n not in kind.__members__
    ]
    methods = [name for name, value in own if callable(value)]
    statics = [name for name, value in own if isinstance(value, staticmethod | classmethod)]
    attributes = [name for name, value in own if type(value) is property]
    members = [[name, _inline(member_value(each), message)] for name, each in kind.__members__.items()]
    known = [base, mixed and mixed.__name__, members, statics]
    return [kind.__name__, [], sorted(special), methods, attributes, False, None, None, None, [], known]


# Theirs, on their way in.


def class_of(number: int, details: list[Any], peer: Any, base_of: Callable[[Any], type], decode: Any) -> type:
    """The class of stand-ins for what is described. base_of: finds a base. Raises ValueError and its like."""
    name, bases, special, methods, hidden, unhashable, fields, library, doc, abstract, members = details
    if not all(isinstance(each, str) for each in (name, *special, *methods, *hidden)):
        raise ValueError("no class")
    hidden = [each for each in hidden if each not in SET_OR_TEXT]
    if members is not None:
        return _enumeration_of(number, peer, name, special, methods, hidden, members, decode)
    home = "program" if library is None else "library"
    space: dict[str, Any] = {CLASS: number, PEER: peer, "__module__": home, "__doc__": doc.get("")}
    if not peer.strict and library is None:
        space["__dict__"] = attribute("__dict__")
    space |= {each: forwarder(each) for each in special if each in SPECIALS}
    space |= {each: forwarder(each, doc.get(each)) for each in methods if _plain_name(each)}
    space |= {each: attribute(each) for each in hidden if _plain_name(each)}
    made = [base_of(base) for base in bases]
    data = next((each for each in made if each in values.WITH_BASE), None)
    if data is not None:
        # Also those that it inherits: the library's own, in Python, would ask the candidate's class.
        space |= {each: forwarder(each) for each in GUARDED - IN_PLACE if hasattr(data, each)}
        space |= {each: forwarder(each) for each in QUERIES if hasattr(data, each)}
        space.setdefault("__hash__", data.__hash__)
    if unhashable:
        space["__hash__"] = None
    elif "__eq__" in space and "__hash__" not in space:
        space["__hash__"] = object.__hash__
    if fields is not None:
        if tuple not in made:  # only `namedtuple` checks that they are names
            raise ValueError("no class")
        made = [values.namedtuple(name, fields) if base is tuple else base for base in made]
        space |= {each: attribute_of_tuple(index, each) for index, each in enumerate(fields)}
    if library is not None:
        real = _library_class(*library)
        if real is not None:
            space["__class__"] = property(lambda _: real)
        if name in ("function", "method", "builtin_function_or_method"):
            space["__doc__"] = attribute("__doc__")
    kinds = [base for base in made if isinstance(base, Mirrored)]
    rest = [base for base in made if not isinstance(base, Mirrored)]
    made_class = _new_class(name, [*kinds, *rest] if kinds else [Remote, *rest], space)
    for each in abstract:
        getattr(collections.abc, each).register(made_class)
    return made_class


def _enumeration_of(
    number: int, peer: Any, name: str, special: Any, methods: Any, hidden: Any, details: Any, decode: Any
) -> type:
    base, mixed, members, statics = details
    mixin = {"str": str, "int": int, "float": float, "tuple": tuple}.get(mixed)
    # A member or static method `__eq__` would be the class's comparison.
    if any(each.startswith("_") and each.endswith("_") for each in (*(key for key, _ in members), *statics)):
        raise ValueError("no enumeration")
    methods, hidden, statics = (
        [each for each in names if each not in SET_OR_TEXT and not (mixin and each in QUERIES)]
        for names in (methods, hidden, statics)
    )
    pairs = [(str(key), _from_inline(value, decode)) for key, value in members]
    made: Any = ENUMS[base](name, pairs, type=mixin) if mixin else ENUMS[base](name, pairs)
    type.__setattr__(made, CLASS, number)
    type.__setattr__(made, PEER, peer)

    def forward(name: str) -> Any:
        return lambda *args, **kwargs: peer.ask("do", args[0], name, args[1:], tuple(kwargs.items()))

    def static(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            return peer.ask("get", made, name)(*args, **kwargs)

        return staticmethod(call)

    def remote_property(name: str) -> property:
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
            type.__setattr__(made, each, remote_property(each))
    type.__setattr__(made, "__getattr__", missing)
    return cast("type", made)


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


def _library_class(module: Any, name: Any) -> type | None:
    """A class of the library that has no value of its own here, for `isinstance`."""
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if module == "builtins" and name in values.NAMELESS:
        return values.NAMELESS[name]
    try:
        kind = values.named(module, name)
    except (ValueError, AttributeError, ImportError):
        return None
    return kind if isinstance(kind, type) else None


def _new_class(name: str, bases: list[type], space: dict[str, Any]) -> type:
    for some in (bases, [Remote]):
        try:
            return Mirrored(name, tuple(dict.fromkeys(some)), space)
        except TypeError:
            continue
    raise ValueError("no class")
