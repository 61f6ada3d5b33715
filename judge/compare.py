"""Right or wrong: comparisons that end for every input and never trust the candidate's side."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Reading a decimal number costs quadratic time: longer ones are not read.
LONG_NUMBER = 4000


def same_output(expected: str, actual: bytes, float_tolerance: float | None = None) -> bool:
    """Contest comparison: the same tokens in the same order, white space folded.

    float_tolerance: tokens that are numbers on both sides may differ by it, absolutely or relatively.
    """
    wanted, got = expected.encode("utf-8", "surrogatepass").split(), actual.split()
    if wanted == got:
        return True
    if float_tolerance is None or len(wanted) != len(got):
        return False
    return all(a == b or _near_tokens(a, b, float_tolerance) for a, b in zip(wanted, got, strict=True))


def canonical(value: Any) -> str:
    """The one text of a JSON value that the sandbox writes too: sorted keys, no spaces, ASCII.

    Raises ValueError for integers with more digits than Python prints.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=True)


def length(value: Any) -> int:
    """About how many characters the value takes in JSON, found in linear time whatever is in it."""
    total, stack = 0, [value]
    while stack:
        one = stack.pop()
        total += 8
        if isinstance(one, dict):
            stack += one.keys()
            stack += one.values()
        elif isinstance(one, list | tuple):
            stack += one
        elif isinstance(one, str):
            total += 6 * len(one)
        elif isinstance(one, int):
            total += one.bit_length() // 3
        else:
            total += 24
    return total


def same_value(expected: Any, actual: str, float_tolerance: float | None = None) -> bool:
    """Whether the JSON text `actual` is the value `expected`.

    Type-strict: true is not 1, 1 is not 1.0 (with a float_tolerance a number is a number, but never a bool).
    NaN is the same as NaN. `actual` comes from the candidate: malformed, huge or deep text is just not the same.
    """
    if _canonical_or_none(expected) == actual:
        return True
    try:
        value = json.loads(actual, parse_int=_integer)
    except (ValueError, RecursionError, MemoryError):
        return False
    return _same(expected, value, float_tolerance)


def same_wide_value(expected: Any, actual: str, float_tolerance: float | None = None) -> bool:
    """As `same_value`, for values in which integers are `i` and hexadecimal digits, and strings `s` and the text."""
    try:
        return _same(expected, _narrow(json.loads(actual)), float_tolerance)
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


def _canonical_or_none(value: Any) -> str | None:
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


def _same(expected: Any, actual: Any, tolerance: float | None) -> bool:
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
        elif not _same_scalar(a, b, tolerance):
            return False
    return True


def _same_scalar(a: Any, b: Any, tolerance: float | None) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, str) or isinstance(b, str):
        return type(a) is type(b) and a == b
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        return False
    if tolerance is None:
        return type(a) is type(b) and (a == b or (a != a and b != b))  # noqa: PLR0124 - NaN
    return a == b or (a != a and b != b) or _near(a, b, tolerance)  # noqa: PLR0124


def _near(a: float, b: float, tolerance: float) -> bool:
    try:
        difference = abs(a - b)
        return bool(math.isfinite(difference) and difference <= tolerance * max(1.0, abs(a)))
    except OverflowError:
        return False


def _near_tokens(a: bytes, b: bytes, tolerance: float) -> bool:
    if max(len(a), len(b)) > LONG_NUMBER or b"_" in a or b"_" in b:
        return False
    try:
        return _near(float(a), float(b), tolerance)
    except ValueError:
        return False
