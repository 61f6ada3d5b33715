"""The arguments of Kattis's default output validator, as options of `stdio` tests."""

from __future__ import annotations

from typing import Any

from alpharay.judge.formats.row import Unusable

_TOLERANCES = {
    "float_tolerance": ("float_absolute_tolerance", "float_relative_tolerance"),
    "float_absolute_tolerance": ("float_absolute_tolerance",),
    "float_relative_tolerance": ("float_relative_tolerance",),
}
_SWITCHES = ("case_sensitive", "space_change_sensitive")


def words(value: Any) -> list[str]:
    """Arguments as they come: a text, or a list."""
    if isinstance(value, list):
        return [str(word) for word in value]
    return [] if value is None else str(value).split()


def comparison(flags: list[str]) -> dict[str, Any]:
    """Later flags win, as in the validator. Without flags it ignores case, and compares numbers as text.

    Raises Unusable.
    """
    options: dict[str, Any] = {"case_sensitive": False}
    rest = iter(flags)
    for flag in rest:
        if flag in _SWITCHES:
            options[flag] = True
        elif flag in _TOLERANCES:
            options |= dict.fromkeys(_TOLERANCES[flag], _number(next(rest, "")))
        else:
            raise Unusable("the default output validator does not know a flag of its", flag)
    both = {options.get(name) for name in _TOLERANCES["float_tolerance"]}
    if len(both) == 1 and None not in both:
        for name in _TOLERANCES["float_tolerance"]:
            options["float_tolerance"] = options.pop(name)
    return options


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Unusable("its validator flags hold no number after a tolerance") from None
