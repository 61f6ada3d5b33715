"""Test programs for EvalPlus's releases, which carry inputs and a reference solution instead of expected outputs.

The expected output is what the reference gives for the same input, computed in the test program: apart from the
candidate, as every test program. Comparison follows EvalPlus: exact, or within `atol` where the problem has one
or the result is a number with a fraction.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping
from typing import Any

from alpharay.judge.formats.row import Unusable, decoded

# Tasks of MBPP whose answer has no order (EvalPlus compares them as sets), or is only there or not.
_AS_SETS = frozenset(
    {"similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
     "intersection_array", "find_dissimilar", "Diff"}
)  # fmt: skip
_WHETHER = frozenset({"check_str", "text_match_three", "text_starta_endb"})
# Any root of the polynomial will do.
_ROOT = "find_zero"

_PROGRAM = """
import copy as _copy

_reference = {entry}
_INPUTS = {inputs}
_ATOL = {atol}


def _is_float(value):
    return isinstance(value, float)


def _numbers(value):
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_is_float, value))


def _close(mine, theirs, atol):
    if isinstance(theirs, (list, tuple)):
        return (
            isinstance(mine, (list, tuple))
            and len(mine) == len(theirs)
            and all(_close(a, b, atol) for a, b in zip(mine, theirs))
        )
    if isinstance(theirs, bool) or not isinstance(theirs, (int, float)):
        return mine == theirs
    if isinstance(mine, bool) or not isinstance(mine, (int, float)):
        return False
    return mine == theirs or abs(mine - theirs) <= atol + 1e-07 * abs(theirs)


def _same(mine, theirs):
    atol = _ATOL
    if not atol and (_is_float(theirs) or _numbers(theirs)):
        atol = 1e-06
    return _close(mine, theirs, atol) if atol else mine == theirs


def check(candidate):
    for arguments in _INPUTS:
        got = candidate(*_copy.deepcopy(arguments))
{compare}
"""
_COMPARE = "        assert _same(got, _reference(*_copy.deepcopy(arguments)))\n"
_COMPARE_SETS = "        assert set(got) == set(_reference(*_copy.deepcopy(arguments)))\n"
_COMPARE_WHETHER = "        assert bool(got) == bool(_reference(*_copy.deepcopy(arguments)))\n"
_COMPARE_ROOT = (
    "        assert abs(sum(c * got**i for i, c in enumerate(arguments[0]))) <= (_ATOL or 1e-04)\n"
)


def has_inputs(row: Mapping[str, Any]) -> bool:
    return "base_input" in row or "plus_input" in row


def tests(
    row: Mapping[str, Any],
    entry_point: str,
    reference: str,
    restore: Callable[[list[list[Any]]], list[list[Any]]],
) -> dict[str, Any]:
    """The `tests` of a problem. reference: a program that defines the entry point. Raises Unusable.

    restore: makes of inputs that came as JSON those that programs take.
    """
    inputs: list[Any] = []
    for name in ("base_input", "plus_input"):
        argument_lists = decoded(row.get(name) or [], name)
        if not isinstance(argument_lists, list) or not all(
            isinstance(arguments, list) for arguments in argument_lists
        ):
            raise Unusable(f"{name} is not a list of argument lists")
        inputs += argument_lists
    if not inputs:
        raise Unusable("it has no inputs")
    inputs = restore(inputs)
    compare = _COMPARE
    if entry_point in _AS_SETS:
        compare = _COMPARE_SETS
    elif entry_point in _WHETHER:
        compare = _COMPARE_WHETHER
    elif entry_point == _ROOT:
        compare = _COMPARE_ROOT
    atol = row.get("atol") or 0
    if isinstance(atol, bool) or not isinstance(atol, int | float):
        raise Unusable("atol is not a number")
    program = _PROGRAM.format(entry=entry_point, inputs=_literal(inputs), atol=atol, compare=compare.rstrip())
    return {"kind": "code", "entry_point": entry_point, "code": f"{reference}\n{program}"}


def _literal(value: Any) -> str:
    """A value as Python text; infinities have no literal of their own."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, complex) and not cmath.isfinite(value):
        return f"complex({_literal(value.real)}, {_literal(value.imag)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, tuple):
        return f"({''.join(f'{_literal(item)}, ' for item in value)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_literal(key)}: {_literal(item)}' for key, item in value.items())}}}"
    return repr(value)
