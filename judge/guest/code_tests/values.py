"""Values that are copied between the tests' process and the candidate's, and names that both know.

Everything here builds a value of the standard library from plain data. No class or function is looked up that is not
listed, so that what a candidate sends can make data in the tests' process and run nothing of its own there.
"""

import builtins
import collections
import importlib
import re
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

# An integer of that many digits costs its reader milliseconds; of a million, half a minute.
MOST_EXPONENT = 9_999
LONG = 1 << 64  # integers from here on travel in hexadecimal, which costs linear time
Encode = Callable[[Any], Any]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Classes and functions that travel by name: what each does is the same in both processes, and acts on its arguments alone.
NAMED = words(
    "builtins cmath collections collections.abc datetime decimal enum fractions functools heapq itertools math "
    "numbers operator pathlib re statistics string typing uuid"
)
# Modules of which exceptions alone are known by name.
RAISING = words(
    "argparse array ast binascii bisect concurrent.futures configparser copy csv dataclasses email.errors "
    "graphlib http.client ipaddress json json.decoder lzma queue random shutil socket sqlite3 struct "
    "subprocess tarfile threading tokenize urllib.error xml.etree.ElementTree zipfile zlib zoneinfo"
)
REAL_MODULE = {"_csv": "csv", "_functools": "functools", "_heapq": "heapq", "_operator": "operator", "_queue": "queue",
               "_struct": "struct", "collections": "collections"}  # fmt: skip
DENIED = words(
    "__import__ breakpoint compile eval exec exit globals help input locals memoryview open print quit super"
)
# What fetches attributes by a name in its arguments, also out of a format, makes classes, or calls what it is given would do
# so in the tests' process, wherever a test passes on what it was given: to a key function, say. Such a callable of the
# candidate's stays in the candidate's process, where the tests call it like any other of its functions.
ACTING = {
    "builtins": words(
        "classmethod delattr dir filter getattr hasattr map property setattr staticmethod type vars"
    ),
    "enum": words("Enum Flag IntEnum IntFlag ReprEnum StrEnum"),
    "functools": words(
        "cache cached_property cmp_to_key lru_cache partial partialmethod reduce singledispatch singledispatchmethod "
        "total_ordering update_wrapper wraps"
    ),
    "itertools": words("accumulate dropwhile filterfalse groupby starmap takewhile"),
    "operator": words("attrgetter call methodcaller"),
    "re": words("sub subn"),
    "string": words("Formatter"),
}
ACTING_METHODS = frozenset({("str", "format"), ("str", "format_map")})
# Of these, functions act on files or on classes; their classes are plain names.
ACTING_MODULES = words("enum pathlib")
# Library types that have no name to be found by.
NAMELESS = {
    kind.__name__: kind
    for kind in vars(types).values()
    if isinstance(kind, type) and kind.__module__ == "builtins" and not hasattr(builtins, kind.__name__)
}
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, type(str.upper), type(int.__add__))


def name_of(value: Any, *, passive: bool = False) -> list[str] | None:
    """`["g", module, name]` of a class or function that the other process has too. passive: and may be named by a candidate."""
    if isinstance(value, types.ModuleType):
        known = sys.modules.get(value.__name__) is value and _is_known_module(value.__name__)
        return ["m", value.__name__] if known else None
    if not isinstance(value, (type, *FUNCTIONS)) and type(value).__module__ != "typing":
        return None
    owner = getattr(value, "__objclass__", None)
    module = getattr(owner or value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "_name", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    module = REAL_MODULE.get(module, module)
    try:
        return ["g", module, name] if named(module, name, passive=passive) is value else None
    except (ValueError, ImportError, AttributeError):
        return None


def named(module: str, name: str, *, passive: bool = False) -> Any:
    """The class or function of that name. Raises ValueError for one that is not listed.

    passive: nor for one that would do more than reckon with its arguments.
    """
    if module not in NAMED and module not in RAISING:
        raise ValueError("no known module")
    if any(part.startswith("_") or part in DENIED for part in name.split(".")):
        raise ValueError("no known name")
    value: Any = importlib.import_module(module)
    for depth, part in enumerate(name.split(".")):
        # A dot leads to a class's method. Through a module it would lead to what that imports, such as `os`.
        if depth and not isinstance(value, type):
            raise ValueError("no known name")
        value = getattr(value, part)
    raises = isinstance(value, type) and issubclass(value, BaseException)
    home = _home(value)
    if not (raises or home in NAMED) or (passive and _acts(value, home)):
        raise ValueError("no known name")
    # A function of `typing` may evaluate text.
    if (module in RAISING and not raises) or (module == "typing" and isinstance(value, types.FunctionType)):
        raise ValueError("no known name")
    return value


def _home(value: Any) -> str:
    """The module that a class or function is of, whichever it was looked up in; empty for anything else."""
    if type(value).__module__ == "typing":
        return "typing"
    if not isinstance(value, (type, *FUNCTIONS)):
        return ""
    owner = getattr(value, "__objclass__", None) or value
    # Of a class's alternative constructor, such as `dict.fromkeys`, the class decides.
    home = getattr(owner, "__module__", None) or getattr(getattr(owner, "__self__", None), "__module__", "")
    return REAL_MODULE.get(str(home), str(home))


def _acts(value: Any, home: str) -> bool:
    name = getattr(value, "__qualname__", "").split(".")
    if name[0] in ACTING.get(home, ()) or tuple(name) in ACTING_METHODS:
        return True
    return issubclass(value, type) if isinstance(value, type) else home in ACTING_MODULES


def acts(kind: type) -> bool:
    """Whether a class of the library's would, called, do more than reckon with its arguments."""
    return kind in NAMELESS.values() or _acts(kind, _home(kind))


def module(name: str) -> types.ModuleType:
    if not _is_known_module(name):
        raise ValueError("no known module")
    return importlib.import_module(name)


def _is_known_module(name: str) -> bool:
    return name in NAMED or name in RAISING


def decimal(text: str) -> Decimal:
    """Not every one there is: a few characters would make an integer of gigabytes."""
    value = Decimal(text)
    if value.is_finite() and abs(value.adjusted()) > MOST_EXPONENT:
        raise ValueError(f"a Decimal has an exponent beyond {MOST_EXPONENT}")
    return value


def _zone(value: timezone, encode: Encode) -> tuple[Any, ...]:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return (encode(offset), *name)


# By exact class: a tag, what makes it out of a value, what makes the value again.
SCALARS: dict[type, tuple[str, Callable[[Any, Encode], tuple[Any, ...]]]] = {
    int: ("i", lambda v, _: (hex(v),)),
    bytes: ("b", lambda v, _: (v.hex(),)),
    complex: ("c", lambda v, _: (v.real, v.imag)),
    Fraction: ("q", lambda v, _: (hex(v.numerator), hex(v.denominator))),
    Decimal: ("e", lambda v, _: (str(v),)),
    timedelta: ("dt", lambda v, _: (v.days, v.seconds, v.microseconds)),
    date: ("da", lambda v, _: (v.year, v.month, v.day)),
    time: ("ti", lambda v, e: (v.hour, v.minute, v.second, v.microsecond, e(v.tzinfo), v.fold)),
    datetime: (
        "dm",
        lambda v, e: (v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, e(v.tzinfo), v.fold),
    ),
    timezone: ("tz", _zone),
    range: ("r", lambda v, e: (e(v.start), e(v.stop), e(v.step))),
    slice: ("sl", lambda v, e: (e(v.start), e(v.stop), e(v.step))),
    re.Pattern: ("re", lambda v, e: (e(v.pattern), v.flags)),
    type(...): ("..", lambda _, __: ()),
    type(NotImplemented): ("!", lambda _, __: ()),
}
# Those whose module is loaded only when one of them comes by.
LAZY: dict[tuple[str, str], tuple[str, Callable[[Any, Encode], tuple[Any, ...]]]] = {
    ("uuid", "UUID"): ("u", lambda v, _: (v.hex,)),
    ("zoneinfo", "ZoneInfo"): ("zi", lambda v, _: (v.key,)),
    **{
        ("pathlib", name): ("p", lambda v, _: (type(v).__name__, str(v)))
        for name in ("PosixPath", "PurePosixPath", "PureWindowsPath")
    },
}


def _path(name: str, text: str) -> Any:
    if name not in ("PosixPath", "PurePosixPath", "PureWindowsPath"):
        raise ValueError("no path")
    return getattr(importlib.import_module("pathlib"), name)(text)


def _time(*fields: Any) -> time:
    *rest, fold = fields
    return time(*rest, fold=fold)


def _datetime(*fields: Any) -> datetime:
    *rest, fold = fields
    return datetime(*rest, fold=fold)  # noqa: DTZ001 - its time zone is one of them


# Each is given its fields, those that were encoded decoded.
READ: dict[str, Callable[..., Any]] = {
    "i": lambda text: int(text, 16),
    "b": bytes.fromhex,
    "c": complex,
    "q": lambda over, under: Fraction(int(over, 16), int(under, 16)),
    "e": decimal,
    "dt": timedelta,
    "da": date,
    "ti": _time,
    "dm": _datetime,
    "tz": timezone,
    "r": range,
    "sl": slice,
    "re": re.compile,
    "u": lambda text: importlib.import_module("uuid").UUID(text),
    "zi": lambda key: importlib.import_module("zoneinfo").ZoneInfo(key),
    "p": _path,
    "..": lambda: ...,
    "!": lambda: NotImplemented,
    "m": module,
}

# Containers that can be changed in place. Both processes have them, and keep them alike (`wire`).
MUTABLE: dict[type, str] = {
    list: "l", dict: "d", set: "s", bytearray: "y", deque: "k",
    OrderedDict: "od", defaultdict: "dd", Counter: "cn",
}  # fmt: skip
MAPPINGS = frozenset({"d", "od", "dd", "cn"})
BASE: dict[str, Any] = {tag: kind for kind, tag in MUTABLE.items()}
# A subclass of one of these is one here too, and made out of its plain value. The first that fits counts.
FIXED: tuple[type, ...] = (
    tuple, str, bytes, frozenset, int, float, complex, Decimal, Fraction, datetime, date, time, timedelta,
)  # fmt: skip
WITH_BASE: tuple[type, ...] = (OrderedDict, defaultdict, Counter, dict, list, set, bytearray, deque, *FIXED)


def content(value: Any, tag: str) -> list[Any]:
    """What is in it, by what it is and not by what its class says: of a mapping all keys, then all values."""
    if tag in MAPPINGS:
        return [*dict.keys(value), *dict.values(value)]
    if tag == "y":
        return [bytes(value).hex()]
    base: Any = BASE[tag]
    return list(base.__iter__(value))


def fill(value: Any, tag: str, items: list[Any]) -> None:
    if tag == "l":
        list.__setitem__(value, slice(None), items)
    elif tag == "y":
        bytearray.__setitem__(value, slice(None), bytes.fromhex(items[0]))
    elif tag == "s":
        set.clear(value)
        set.update(value, items)
    elif tag == "k":
        deque.clear(value)
        deque.extend(value, items)
    else:
        half = len(items) // 2
        base: Any = OrderedDict if tag == "od" else dict
        base.clear(value)
        for key, item in zip(items[:half], items[half:], strict=True):
            base.__setitem__(value, key, item)


def made_with(value: Any, tag: str) -> Any:
    """What it is made with, beside what is in it."""
    if tag == "k":
        return value.maxlen
    return value.default_factory if tag == "dd" else None


def view(value: Any) -> tuple[str, list[Any]] | None:
    """Of a dict: its keys, values or items."""
    return (type(value).__name__, list(value)) if type(value) in VIEWS else None


_EMPTY: dict[Any, Any] = {}
VIEWS = frozenset({type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items())})


def viewed(kind: str, items: list[Any]) -> Any:
    if kind == "dict_keys":
        return dict.fromkeys(items).keys()
    return dict(items).items() if kind == "dict_items" else dict(enumerate(items)).values()


def namedtuple(name: str, fields: list[str]) -> type:
    return collections.namedtuple(name, fields)  # noqa: PYI024
