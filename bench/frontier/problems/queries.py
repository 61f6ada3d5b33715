"""Questions about an array, and changes of it, one a line."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from bench.frontier.problems.draft import (
    Draft,
    Layout,
    Values,
    Way,
    among,
    comparison,
    numbers,
    pick,
    values_up_to,
)

SIZES = ((3, 4), (4, 7), (25, 40))
TOTALS = {
    "largest": ("None", "s if ans is None else max(ans, s)"),
    "smallest": ("None", "s if ans is None else min(ans, s)"),
    "total": ("0", "ans+s"),
}


def query_layouts() -> list[Layout]:
    def render(v: Values) -> str:
        lines = [numbers([len(v["a"]), len(v["q"])]), numbers(v["a"]), *(numbers(query) for query in v["q"])]
        return "\n".join(lines) + "\n"

    read = "n, q = map(int, input().split())\na = list(map(int, input().split()))"
    return [
        Layout("The first line has n and q, the second the values, then one query per line.", read, render)
    ]


def _ranges(
    first: int, extra: Callable[[random.Random], list[int]] = lambda _: []
) -> Callable[[random.Random, int], dict[str, Any]]:
    def values(rng: random.Random, n: int) -> dict[str, Any]:
        queries = []
        for _ in range(n if n > 20 else rng.randint(2, 3)):
            # Long ranges where the array is large: the simple way shall feel them.
            left, right = (
                sorted((rng.randrange(n), rng.randrange(n)))
                if n < 300
                else (rng.randrange(n // 8), n - 1 - rng.randrange(n // 8))
            )
            queries.append([left + first, right + first, *extra(rng)])
        return {"a": values_up_to(9)(rng, n), "q": queries}

    return values  # fmt: skip


def _ends(first: int) -> tuple[str, str]:
    """The slice's ends for the position that counts as first, as choice points."""
    if first:
        return pick("l-1", "l"), pick("r", "r+1", "r-1")
    return pick("l", "l-1"), pick("r+1", "r")


def range_sum(rng: random.Random) -> Draft:
    first = rng.randint(0, 1)
    word = rng.choice(list(TOTALS))
    start, keep = TOTALS[word]
    left, right = _ends(first)
    keep = among(keep, [text for _, text in TOTALS.values()]) if word != "total" else keep
    loop = f"\nans = {start}\nfor _ in range(q):\n    l, r = map(int, input().split())\n    s = "
    return Draft(
        inputs="an array a of n integers and q queries",
        task=f"Each query l r asks for the sum of the values from position l to r (included), positions start at {first}. Find the {word + ' query result' if word != 'total' else 'total of all query results'}.",
        layouts=query_layouts(),
        simple=Way("O(n^2)", f"{loop.strip()} sum(a[{left}:{right}])\n    ans = {keep}"),
        fast=Way("O(n)", f"p = [0]\nfor v in a:\n    p.append(p[-1]+v){loop}p[{right}]-p[{left}]\n    ans = {keep}"),
        values=_ranges(first), little=60, large=8000, sizes=SIZES, bounded="n",
    )  # fmt: skip


def range_add(rng: random.Random) -> Draft:
    first = rng.randint(0, 1)
    word, f = rng.choice([("largest", "max"), ("smallest", "min")])
    left, right = _ends(first)
    return Draft(
        inputs="an array a of n integers and q queries",
        task=f"Each query l r x adds x to the values from position l to r (included), positions start at {first}. Find the {word} value at the end.",
        layouts=query_layouts(),
        simple=Way("O(n^2)", f"for _ in range(q):\n    l, r, x = map(int, input().split())\n    for i in range({left}, {right}):\n        a[i] += x\nans = {among(f, ['max', 'min'])}(a)"),
        fast=Way("O(n)", f"d = [0]*(n+2)\nfor _ in range(q):\n    l, r, x = map(int, input().split())\n    d[{left}] += x\n    d[{right}] -= x\ns = 0\nfor i in range(n):\n    s += d[i]\n    a[i] += {pick('s', 'd[i]')}\nans = {among(f, ['max', 'min'])}(a)"),
        values=_ranges(first, lambda r: [r.randint(-9, 9)]), little=60, large=4000, sizes=SIZES, hard=True,
    )  # fmt: skip


def count_below(rng: random.Random) -> Draft:
    op, words = comparison(rng)
    fast = {"<": "bisect_left(a, x)", "<=": "bisect_right(a, x)", ">": "n-bisect_right(a, x)", ">=": "n-bisect_left(a, x)"}  # fmt: skip
    word = rng.choice(list(TOTALS))
    start, keep = TOTALS[word]
    loop = f"ans = {start}\nfor _ in range(q):\n    x = int(input())\n    s = "
    return Draft(
        inputs="an array a of n integers and q queries",
        task=f"Each query x asks how many values are {words} x. Find the {word + ' query result' if word != 'total' else 'total of all query results'}.",
        layouts=query_layouts(),
        simple=Way("O(n^2)", f"{loop}sum(1 for v in a if v {among(op, list(fast))} x)\n    ans = {keep}"),
        fast=Way("O(n log n)", f"{pick('a.sort()', 'a = sorted(set(a))')}\n{loop}{among(fast[op], list(fast.values()))}\n    ans = {keep}", "from bisect import *"),
        values=lambda r, n: {"a": values_up_to(30)(r, n), "q": [[r.randint(3, 27)] for _ in range(n if n > 20 else r.randint(1, 2))]},
        little=60, large=4500, sizes=SIZES, hard=True,
    )  # fmt: skip


def range_even(rng: random.Random) -> Draft:
    """Held out: prefix sums of a property instead of the values."""
    left, right = _ends(0)
    loop = "ans = 0\nfor _ in range(q):\n    l, r = map(int, input().split())\n    s = "
    return Draft(
        inputs="an array a of n integers and q queries",
        task="Each query l r asks for the number of even values from position l to r (included), positions start at 0. Find the total of all query results.",
        layouts=query_layouts(),
        simple=Way("O(n^2)", f"{loop}sum(1 for v in a[{left}:{right}] if v%2 == 0)\n    ans = ans+s"),
        fast=Way("O(n)", f"p = [0]\nfor v in a:\n    p.append(p[-1]+{pick('(v%2 == 0)', 'v%2', 'v')})\n{loop}p[{right}]-p[{left}]\n    ans = ans+s"),
        values=_ranges(0), little=60, large=4500, sizes=SIZES,
    )  # fmt: skip


TRAINED = (range_sum, range_add, count_below)
HELD_OUT = (range_even,)
