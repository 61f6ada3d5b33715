"""Values between the tests' process and the candidate's: frames of JSON in which only data can travel.

Plain values are copied. What cannot be copied (functions, classes, generators, objects) stays where it is and
travels as a number; the other side gets a stand-in that asks for what is done with it.
"""

import json
import os
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

FRAME_BYTES = 64 << 20
DEPTH = 200
MOST_EXPONENT = (
    9_999  # an integer of that many digits costs its reader milliseconds; of a million, half a minute
)
LONG = 1 << 64  # integers from here on travel in hexadecimal, which costs linear time


class Gone(BaseException):
    """The other side has ended. Not an Exception: no `except Exception` of a test may swallow it."""


class Codec:
    """stay: keeps an object that cannot be copied and returns its number. stand_in: what a number becomes here.

    own: the object of ours that a number names, when one of ours comes back.
    """

    def __init__(
        self,
        stay: Callable[[Any], int],
        stand_in: Callable[[int], Any],
        own: Callable[[int], Any],
        number_of: Callable[[Any], int | None],
    ) -> None:
        self._stay = stay
        self._stand_in = stand_in
        self._own = own
        self._number_of = number_of

    def encode(self, value: Any, depth: int = DEPTH) -> Any:
        """As JSON. By what a value is, not by what its class says it prints as."""
        kind = type(value)
        if value is None or kind is bool or kind is float or kind is str:
            return value
        if kind is int:
            return value if -LONG < value < LONG else ["i", hex(value)]
        if depth == 0:
            raise ValueError(f"a value nested more than {DEPTH} deep cannot be passed on")
        # A list of the candidate's own class has methods that a test may ask for; a tuple or a number, seldom.
        stays = kind.__module__ == "candidate" and isinstance(value, list | dict | set)
        for tag, wide in () if stays else CONTAINERS:
            if isinstance(value, wide):
                return [tag, *(self.encode(item, depth - 1) for item in wide.__iter__(value))]
        if isinstance(value, dict) and not stays:
            encode = self.encode
            return ["d", *([encode(k, depth - 1), encode(v, depth - 1)] for k, v in dict.items(value))]
        for tag, wide, text in SCALARS:
            if isinstance(value, wide):
                return [tag, *text(value)]
        theirs = self._number_of(value)
        return ["mine", self._stay(value)] if theirs is None else ["yours", theirs]

    def decode(self, data: Any, depth: int = DEPTH) -> Any:
        """Raises ValueError for anything that `encode` would not have made."""
        if data is None or isinstance(data, bool | int | float | str):
            return data
        if depth == 0 or not isinstance(data, list) or not data or not isinstance(data[0], str):
            raise ValueError("not a value")
        tag, *items = data
        if tag in BUILD:
            return BUILD[tag]([self.decode(item, depth - 1) for item in items])
        if tag == "d":
            return {self.decode(key, depth - 1): self.decode(value, depth - 1) for key, value in items}
        if tag in READ:
            return READ[tag](*items)
        if tag in ("mine", "yours") and len(items) == 1 and type(items[0]) is int:
            return self._stand_in(items[0]) if tag == "mine" else self._own(items[0])
        raise ValueError("not a value")


def _decimal(text: str) -> Decimal:
    """Not every one there is: a few characters would make an integer of gigabytes."""
    value = Decimal(text)
    if value.is_finite() and abs(value.adjusted()) > MOST_EXPONENT:
        raise ValueError(f"a Decimal has an exponent beyond {MOST_EXPONENT}")
    return value


CONTAINERS: tuple[tuple[str, Any], ...] = (("l", list), ("t", tuple), ("s", set), ("f", frozenset))
BUILD: dict[str, Any] = {"l": list, "t": tuple, "s": set, "f": frozenset}
SCALARS: tuple[tuple[str, Any, Callable[[Any], tuple[Any, ...]]], ...] = (
    ("i", int, lambda value: (hex(int.__index__(value)),)),
    ("n", float, lambda value: (float.__float__(value),)),
    ("u", str, lambda value: (str.__str__(value),)),
    ("b", bytes, lambda value: (bytes.hex(value),)),
    ("y", bytearray, lambda value: (bytearray.hex(value),)),
    ("c", complex, lambda value: (value.real, value.imag)),
    ("q", Fraction, lambda value: (hex(value.numerator), hex(value.denominator))),
    ("e", Decimal, lambda value: (Decimal.__str__(value),)),
)
READ: dict[str, Callable[..., Any]] = {
    "i": lambda text: int(text, 16),
    "n": float,
    "u": str,
    "b": bytes.fromhex,
    "y": bytearray.fromhex,
    "c": complex,
    "q": lambda over, under: Fraction(int(over, 16), int(under, 16)),
    "e": _decimal,
}


def send(descriptor: int, message: Any) -> None:
    """One frame: its length in eight hexadecimal digits, then JSON."""
    text = json.dumps(message, check_circular=False).encode("ascii")
    if len(text) > FRAME_BYTES:
        raise ValueError(f"a value of {len(text)} bytes is too large to be passed on")
    data = memoryview(b"%08x" % len(text) + text)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        raise Gone from None


def receive(descriptor: int) -> bytes:
    """The JSON of a frame. Raises Gone at the end, and ValueError for what is no frame."""
    length = int(_exactly(descriptor, 8), 16)
    if length > FRAME_BYTES:
        raise ValueError("a frame is too long")
    return _exactly(descriptor, length)


def _exactly(descriptor: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(descriptor, min(length, 1 << 20))
        if not part:
            raise Gone
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
