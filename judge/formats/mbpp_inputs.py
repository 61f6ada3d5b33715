"""Inputs of MBPP+ as EvalPlus's harness gives them to programs: its files hold them as JSON, which has no tuples.

Which task takes what is EvalPlus's own list (evalplus/data/mbpp.py), and nowhere in its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from alpharay.judge.formats.row import Unusable

Arguments = list[Any]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | str) else value


def _tuples(value: Iterable[Any]) -> list[Any]:
    return [_tuple(item) for item in value]


def _deep(value: Any) -> Any:
    return tuple(map(_deep, value)) if isinstance(value, list) else value


def _within(arguments: Arguments) -> Arguments:
    return [_tuples(argument) for argument in arguments]


def _first(arguments: Arguments) -> Arguments:
    return [_tuple(arguments[0]), *arguments[1:]]


def _second(arguments: Arguments) -> Arguments:
    return [arguments[0], _tuple(arguments[1]), *arguments[2:]]


def _within_first(arguments: Arguments) -> Arguments:
    return [_tuples(arguments[0]), *arguments[1:]]


def _of_tuples(arguments: Arguments) -> Arguments:
    return [tuple(_tuples(argument)) for argument in arguments]


def _sets(arguments: Arguments) -> Arguments:
    # An empty one is a dictionary there too.
    return [[set(value) if isinstance(value, list) and value else {} for value in arguments[0]]]


def _complex_first(arguments: Arguments) -> Arguments:
    return [complex(arguments[0]), *arguments[1:]]


def _float_and_complex(arguments: Arguments) -> Arguments:
    return [float(arguments[0]), complex(arguments[1])]


def _values(arguments: Arguments) -> Arguments:
    return [{key: _tuple(value) for key, value in arguments[0].items()}, *arguments[1:]]


def _all(arguments: Arguments) -> Arguments:
    return [_deep(argument) for argument in arguments]


_TASKS: tuple[tuple[Callable[[Arguments], Arguments], str], ...] = (
    (_tuples, "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809"),
    (_within, "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780"),
    (_within_first, "75 413 444 753"),
    (_second, "106 750"),
    (_sets, "115"),
    (_float_and_complex, "124"),
    (_first, "250 307 405 446 617 720 763 808"),
    (_of_tuples, "259 278 401 445"),
    (_values, "722"),
    (_complex_first, "252"),
    (_all, "580 615 791"),
)
_SHAPES = {int(task): shape for shape, tasks in _TASKS for task in tasks.split()}


def restored(task: str, inputs: list[Arguments]) -> list[Arguments]:
    """task: its number, with or without `Mbpp/`. Raises Unusable."""
    number = task.removeprefix("Mbpp/")
    shape = _SHAPES.get(int(number)) if number.isdecimal() else None
    try:
        return [shape(arguments) for arguments in inputs] if shape else inputs
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise Unusable(f"its inputs are not those of EvalPlus's task {number}: {error}") from None
