"""What a family hands over: a task in English, its input, and two programs with choice points.

A choice point is written ⟦right¦wrong¦wrong⟧ in a program's text. Resolved to the right alternative everywhere it
is a reference solution; resolved at random it is a program as a model in training might write it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CHOICE = re.compile(r"⟦([^⟧]*)⟧")
Values = Mapping[str, Any]


def pick(right: str, *wrong: str) -> str:
    """A choice point; the first alternative is the right one."""
    return f"⟦{'¦'.join((right, *wrong))}⟧"


def among(right: str, alternatives: Sequence[str]) -> str:
    """A choice point between `right` and every other of the alternatives."""
    return pick(right, *(other for other in alternatives if other != right))


def resolve(text: str, rng: random.Random | None = None, right: float = 1.0) -> str:
    """The text with every choice point made: right with that probability, else one of the wrong ones."""

    def choose(match: re.Match[str]) -> str:
        alternatives = match[1].split("¦")
        if rng is None or len(alternatives) == 1 or rng.random() < right:
            return alternatives[0]
        return rng.choice(alternatives[1:])

    return CHOICE.sub(choose, text)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to solve a task: what it costs, and the lines that leave the result in `ans`."""

    cost: str
    body: str
    imports: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the input is written: a sentence, the lines that read it, and the text of given values."""

    sentence: str
    code: str
    render: Callable[[Values], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One task of a family, before its limits, transform and tests are drawn.

    inputs: what a program is given, in words. values: (rng, size) -> the input's values. sizes: of levels 1, 2 and 3, each (least, most). little, large: the
    size at level 4 when the limits are low (the simple way passes) and when they are high (it takes 0.4 s or more).
    bounded: the name of what `size` limits. transforms: which changes of the array are allowed, "" for none.
    hard: whether the fast way is the trickier one.
    """

    inputs: str
    task: str
    layouts: Sequence[Layout]
    simple: Way
    fast: Way
    values: Callable[[random.Random, int], dict[str, Any]]
    little: int
    large: int
    sizes: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] = ((3, 5), (4, 8), (30, 50))
    bounded: str = "n"
    transforms: Sequence[str] = ("",)
    hard: bool = False
    wraps: bool = True


Family = Callable[[random.Random], Draft]


def numbers(values: Sequence[int]) -> str:
    return " ".join(map(str, values))


def array_layouts(*names: str) -> list[Layout]:
    """Three ways to write an array `a` of n values and some single numbers."""
    listed = ", ".join(("n", *names))
    both = " and ".join(names)

    def head(v: Values) -> list[int]:
        return [len(v["a"]), *(v[name] for name in names)]

    first = f"{listed} = map(int, input().split())" if names else "n = int(input())"
    array = "a = list(map(int, input().split()))"
    layouts = [
        Layout(
            f"The first line has {listed}, the second has the n values.",
            f"{first}\n{array}",
            lambda v: f"{numbers(head(v))}\n{numbers(v['a'])}\n",
        ),
        Layout(
            f"One line holds {listed} and then the n values.",
            f"{listed}, *a = map(int, input().split())",
            lambda v: f"{numbers(head(v) + list(v['a']))}\n",
        ),
    ]
    if names:
        last = f"{', '.join(names)} = map(int, input().split())" if names[1:] else f"{both} = int(input())"
        layouts.append(
            Layout(
                f"The first line holds all n values, the second has {both}.",
                f"{array}\nn = len(a)\n{last}",
                lambda v: f"{numbers(v['a'])}\n{numbers(head(v)[1:])}\n",
            )
        )
    return layouts


def number_layouts(*names: str) -> list[Layout]:
    """Single numbers, on one line or one a line."""
    code = f"{', '.join(names)} = map(int, input().split())" if names[1:] else f"{names[0]} = int(input())"
    layouts = [
        Layout("The input is one line.", code, lambda v: f"{numbers([v[name] for name in names])}\n"),
    ]
    if names[1:]:
        layouts.append(
            Layout(
                "Each number is on a line of its own.",
                "\n".join(f"{name} = int(input())" for name in names),
                lambda v: "".join(f"{v[name]}\n" for name in names),
            )
        )
    return layouts


COMPARISONS = {"<": "less than", "<=": "at most", ">": "greater than", ">=": "at least"}


def comparison(rng: random.Random) -> tuple[str, str]:
    """An operator and its words."""
    return rng.choice(list(COMPARISONS.items()))


def values_up_to(top: int, least: int = 0) -> Callable[[random.Random, int], list[int]]:
    return lambda rng, n: [rng.randint(least, top) for _ in range(n)]
