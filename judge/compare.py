"""Right or wrong: comparisons that end for every input and never trust the candidate's side."""

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

# Reading a decimal number costs quadratic time: longer ones are not read.
LONG_NUMBER = 4000

_INTEGER = re.compile(rb"[+-]?[0-9]+")
_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SPACES = re.compile(rb"([ \t\n\r\v\f]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How printed tokens are compared, beyond what `float_tolerance` says; the default is exact text.

    case_sensitive: whether the case of ASCII letters matters.
    space_change_sensitive: whether white space must be the same, character by character.
    float_absolute_tolerance, float_relative_tolerance: instead of one `float_tolerance` for both. Within either of
    them a number is right.
    numeric_lines: only lines of nothing but numbers are compared as numbers, integers among them exactly.
    lines: white space within a line and empty lines between others matter; at the end of a line, and of the text, not.
    unordered: `tokens` or `lines`, which may then come in any order, each as often as expected.
    """

    case_sensitive: bool = True
    space_change_sensitive: bool = False
    float_absolute_tolerance: float | None = None
    float_relative_tolerance: float | None = None
    numeric_lines: bool = False
    lines: bool = False
    unordered: str = ""


EXACT = Comparison()


def same_output(
    expected: str, actual: bytes, float_tolerance: float | None = None, comparison: Comparison = EXACT
) -> bool:
    """Contest comparison: the same tokens in the same order, white space folded.

    float_tolerance: tokens that are numbers on both sides may differ by it, absolutely or relatively; 0 compares
    decimal numbers by their exact value.
    """
    text = expected.encode("utf-8", "surrogatepass")
    if not comparison.case_sensitive:
        text, actual = text.lower(), actual.lower()
    if comparison.lines:
        return _lines(text) == _lines(actual)
    if comparison.unordered:
        split = _token_lines if comparison.unordered == "lines" else bytes.split
        return Counter(split(text)) == Counter(split(actual))
    if comparison.space_change_sensitive:
        wanted, got = _SPACES.split(text), _SPACES.split(actual)
        # Tokens and the white space between them take turns.
        if wanted[1::2] != got[1::2]:
            return False
        wanted, got = wanted[::2], got[::2]
    else:
        wanted, got = text.split(), actual.split()
    if wanted == got:
        return True
    near = _Near.of(float_tolerance, comparison)
    if near is None:
        return False
    if comparison.numeric_lines:
        return _same_lines(text, actual, near)
    return len(wanted) == len(got) and all(a == b or near(a, b) for a, b in zip(wanted, got, strict=True))


def _lines(text: bytes) -> list[bytes]:
    return [line.rstrip() for line in text.rstrip().split(b"\n")]


def _token_lines(text: bytes) -> list[bytes]:
    """Lines that hold anything, white space folded."""
    return [b" ".join(tokens) for line in text.split(b"\n") if (tokens := line.split())]


def _same_lines(expected: bytes, actual: bytes, near: "_Near") -> bool:
    """Line by line, blank ones aside: the same tokens, or numbers alone."""
    wanted, got = (
        [tokens for line in text.splitlines() if (tokens := line.split())] for text in (expected, actual)
    )
    return len(wanted) == len(got) and all(
        expected_tokens == actual_tokens or _same_numbers(expected_tokens, actual_tokens, near)
        for expected_tokens, actual_tokens in zip(wanted, got, strict=True)
    )


def _same_numbers(expected: list[bytes], actual: list[bytes], near: "_Near") -> bool:
    if len(expected) != len(actual) or not all(map(_DECIMAL.fullmatch, expected)):
        return False
    return all(
        _equal_numbers(a, b) if _INTEGER.fullmatch(a) and _INTEGER.fullmatch(b) else near(a, b)
        for a, b in zip(expected, actual, strict=True)
    )


def canonical(value: Any) -> str:
    """The one text of a JSON value that the sandbox writes too: sorted keys, no spaces, ASCII.

    Raises ValueError for integers with more digits than Python prints.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=True)


def length(value: Any) -> int:
    """About how many characters the value takes in JSON, found in linear time whatever is in it."""
    total, stack = 0, [value]
    while stack:
        item = stack.pop()
        total += 8
        if isinstance(item, dict):
            stack += item.keys()
            stack += item.values()
        elif isinstance(item, list | tuple):
            stack += item
        elif isinstance(item, str):
            total += 6 * len(item)
        elif isinstance(item, int):
            total += item.bit_length() // 3
        else:
            total += 24
    return total


def same_value(
    expected: Any,
    actual: str,
    float_tolerance: float | None = None,
    *,
    strict_types: bool = True,
    one_number: bool = False,
) -> bool:
    """Whether the JSON text `actual` is the value `expected`.

    Type-strict: true is not 1, 1 is not 1.0 (with a float_tolerance a number is a number, but never a bool).
    Without strict_types as Python's own `==`, by which all three are equal. With one_number 1 is 1.0, and true neither.
    NaN is the same as NaN. `actual` comes from the candidate: malformed, huge or deep text is just not the same.
    """
    if canonical_or_none(expected) == actual:
        return True
    try:
        value = json.loads(actual, parse_int=_integer)
    except (ValueError, RecursionError, MemoryError):
        return False
    return _same(expected, value, float_tolerance, strict_types, one_number)


def same_wide_value(
    expected: Any,
    actual: str,
    float_tolerance: float | None = None,
    *,
    strict_types: bool = True,
    one_number: bool = False,
) -> bool:
    """As `same_value`, for values in which integers are `i` and hexadecimal digits, and strings `s` and the text."""
    try:
        return _same(expected, _narrow(json.loads(actual)), float_tolerance, strict_types, one_number)
    except (ValueError, RecursionError, MemoryError):
        return False


def _narrow(value: Any) -> Any:
    if isinstance(value, list):
        return [_narrow(item) for item in value]
    if isinstance(value, dict):
        return {key[1:]: _narrow(item) for key, item in value.items()}
    if isinstance(value, str):
        if value.startswith("i"):
            return int(value[1:], 16)
        return value[1:]
    if value is None or isinstance(value, bool | float):
        return value
    raise ValueError("not a wide value")


def canonical_or_none(value: Any) -> str | None:
    """`canonical`; None for what is no JSON, nested too deep, or has more digits than Python prints."""
    try:
        return canonical(value)
    except (TypeError, ValueError, RecursionError):  # not JSON, or nested too deep: compared value by value
        return None


@contextmanager
def any_digits() -> Iterator[None]:
    """Lifts Python's bound on the digits of an integer, for numbers as long as an expected answer's."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


class _Long:
    """An integer longer than Python prints: an honest answer brings it in hexadecimal."""


def _integer(text: str) -> int | _Long:
    return int(text) if len(text) <= LONG_NUMBER else _Long()


def _same(expected: Any, actual: Any, tolerance: float | None, strict: bool, one_number: bool) -> bool:
    stack = [(expected, actual)]
    while stack:
        a, b = stack.pop()
        if isinstance(a, dict):
            if not isinstance(b, dict) or a.keys() != b.keys():
                return False
            stack += [(a[key], b[key]) for key in a]
        elif isinstance(a, list | tuple):
            if not isinstance(b, list) or len(a) != len(b):
                return False
            stack += zip(a, b, strict=True)
        elif not _same_scalar(a, b, tolerance, strict, one_number):
            return False
    return True


def _same_scalar(a: Any, b: Any, tolerance: float | None, strict: bool, one_number: bool) -> bool:
    if a is None or b is None or (strict and (isinstance(a, bool) or isinstance(b, bool))):
        return a is b
    if isinstance(a, str) or isinstance(b, str):
        return type(a) is type(b) and a == b
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        return False
    same = a == b or (a != a and b != b)  # noqa: PLR0124 - NaN
    if tolerance is None:
        return same and (one_number or not strict or type(a) is type(b))
    return same or _near(a, b, tolerance, tolerance)


def _near(a: float, b: float, absolute: float, relative: float) -> bool:
    try:
        difference = abs(a - b)
        return math.isfinite(difference) and (difference <= absolute or difference <= relative * abs(a))
    except OverflowError:
        return False


@dataclass(frozen=True, slots=True)
class _Near:
    """Whether two tokens are numbers that are near enough. Negative tolerances allow nothing."""

    absolute: float
    relative: float

    @classmethod
    def of(cls, float_tolerance: float | None, comparison: Comparison) -> "_Near | None":
        """None where numbers are compared as text."""
        tolerances = (comparison.float_absolute_tolerance, comparison.float_relative_tolerance)
        if tolerances == (None, None):
            tolerances = (float_tolerance, float_tolerance)
        if tolerances == (None, None):
            return None
        absolute, relative = (-1.0 if each is None else each for each in tolerances)
        return cls(absolute, relative)

    def __call__(self, expected: bytes, actual: bytes) -> bool:
        if max(len(expected), len(actual)) > LONG_NUMBER or b"_" in expected or b"_" in actual:
            return False
        if self.absolute <= 0 and self.relative <= 0:
            return _equal_numbers(expected, actual)
        try:
            return _near(float(expected), float(actual), self.absolute, self.relative)
        except ValueError:
            return False


def _equal_numbers(a: bytes, b: bytes) -> bool:
    """Whether both are decimal numbers of the same value; a float would take 2**53 and 2**53 + 1 for the same."""
    if max(len(a), len(b)) > LONG_NUMBER or not (_DECIMAL.fullmatch(a) and _DECIMAL.fullmatch(b)):
        return a == b
    return Decimal(a.decode()) == Decimal(b.decode())
