"""Pairs of positions of an array."""

from __future__ import annotations

import random

from bench.frontier.problems.changes import ANY
from bench.frontier.problems.draft import (
    COMPARISONS,
    Draft,
    Way,
    among,
    array_layouts,
    comparison,
    pick,
    values_up_to,
)

ALL_PAIRS = """ans = 0
for i in range(n):
    for j in range(i+1, n):
        if {test}:
            ans += 1"""


def _count(rng: random.Random, what: str) -> str:
    return rng.choice(
        [f"Count the pairs i<j such that {what}.", f"How many pairs i<j have the property that {what}?"]
    )


def pair_equal(rng: random.Random) -> Draft:
    kinds = {"a[i]+a[j]": "k-v", "a[i]-a[j]": "v+k", "a[j]-a[i]": "v-k"}
    kind = rng.choice(list(kinds))
    return Draft(
        inputs="an array a of n integers",
        task=_count(rng, f"{kind} equals k"),
        layouts=array_layouts("k"),
        simple=Way("O(n^2)", ALL_PAIRS.format(test=f"{among(kind, list(kinds))} == k")),
        fast=Way("O(n)", f"c = {{}}\nans = 0\nfor v in a:\n    ans += c.get({among(kinds[kind], list(kinds.values()))}, 0)\n    c[v] = c.get(v, 0){pick('+1', '')}"),
        values=lambda r, n: {"a": values_up_to(6)(r, n), "k": r.randint(0, 8) if "+" in kind else r.randint(0, 4)},
        little=150, large=5500, transforms=("", "", "", "distance", "double", "half", "square"),
    )  # fmt: skip


def pair_remainder(rng: random.Random) -> Draft:
    kinds = {"a[i]+a[j]": "r-v", "a[i]-a[j]": "v+r", "a[j]-a[i]": "v-r"}
    kind = rng.choice(list(kinds))
    return Draft(
        inputs="an array a of n integers",
        task=_count(rng, f"({kind}) mod m is r"),
        layouts=array_layouts("m", "r"),
        simple=Way("O(n^2)", ALL_PAIRS.format(test=f"({among(kind, list(kinds))})%m == r")),
        fast=Way("O(n)", f"c = [0]*m\nans = 0\nfor v in a:\n    ans += c[({among(kinds[kind], list(kinds.values()))})%m]\n    c[{pick('v%m', '(v+r)%m')}] += 1"),
        values=lambda r, n: {"a": values_up_to(30)(r, n), "m": (m := r.randint(3, 8)), "r": r.randrange(m)},
        little=150, large=5000, transforms=ANY,
    )  # fmt: skip


def pair_limit(rng: random.Random) -> Draft:
    op, words = comparison(rng)
    after = {"<=": "bisect_right(a, k-a[i], i+1)-i-1", "<": "bisect_left(a, k-a[i], i+1)-i-1",
             ">=": "n-bisect_left(a, k-a[i], i+1)", ">": "n-bisect_right(a, k-a[i], i+1)"}  # fmt: skip
    return Draft(
        inputs="an array a of n integers",
        task=_count(rng, f"a[i]+a[j] is {words} k"),
        layouts=array_layouts("k"),
        simple=Way("O(n^2)", ALL_PAIRS.format(test=f"a[i]+a[j] {among(op, list(COMPARISONS))} k")),
        fast=Way("O(n log n)", f"a.sort()\nans = 0\nfor i in range(n):\n    ans += {among(after[op], list(after.values()))}", "from bisect import *"),
        values=lambda r, n: {"a": values_up_to(12)(r, n), "k": r.randint(5, 18)},
        little=150, large=5500, transforms=ANY, hard=True,
    )  # fmt: skip


def pair_near(rng: random.Random) -> Draft:
    op, words = rng.choice([("<", "less than"), ("<=", "at most"), (">=", "at least"), (">", "greater than")])
    stop = {"<": ">=", "<=": ">", ">=": ">=", ">": ">"}[op]
    add = "i-l" if op[0] == "<" else "l"
    return Draft(
        inputs="an array a of n integers",
        task=rng.choice([f"How many pairs of positions hold values whose distance is {words} k?", f"Count the pairs i<j where |a[i]-a[j]| is {words} k."]),
        layouts=array_layouts("k"),
        simple=Way("O(n^2)", ALL_PAIRS.format(test=f"abs(a[i]-a[j]) {among(op, list(COMPARISONS))} k")),
        fast=Way("O(n log n)", f"a.sort()\nans = l = 0\nfor i in range(n):\n    while a[i]-a[l] {pick(stop, {'>': '>=', '>=': '>'}[stop])} k:\n        l += 1\n    ans += {among(add, ['i-l', 'l', 'i-l+1'])}"),
        values=lambda r, n: {"a": values_up_to(14)(r, n), "k": r.randint(1, 6)},
        little=150, large=5500, transforms=ANY, hard=True,
    )  # fmt: skip


def inversions(rng: random.Random) -> Draft:
    op, words = comparison(rng)
    before = {"<": "bisect_left(b, v)", "<=": "bisect_right(b, v)", ">": "len(b)-bisect_right(b, v)", ">=": "len(b)-bisect_left(b, v)"}  # fmt: skip
    return Draft(
        inputs="an array a of n integers",
        task=_count(rng, f"a[i] is {words} a[j]"),
        layouts=array_layouts(),
        simple=Way("O(n^2)", ALL_PAIRS.format(test=f"a[i] {among(op, list(COMPARISONS))} a[j]")),
        fast=Way("O(n log n)", f"b = []\nans = 0\nfor v in a:\n    ans += {among(before[op], list(before.values()))}\n    insort(b, v)", "from bisect import *"),
        values=lambda r, n: {"a": values_up_to(15)(r, n)},
        little=120, large=5500, transforms=ANY, hard=True,
    )  # fmt: skip


def best_product(rng: random.Random) -> Draft:
    word, f = rng.choice([("largest", "max"), ("smallest", "min")])
    fast = "max(a[0]*a[1], a[-1]*a[-2])" if f == "max" else "min(a[0]*a[1], a[-1]*a[-2], a[0]*a[-1])"
    wrong = (
        ["a[-1]*a[-2]", "a[0]*a[1]"]
        if f == "max"
        else ["a[0]*a[1]", "a[0]*a[-1]", "max(a[0]*a[1], a[-1]*a[-2])"]
    )
    return Draft(
        inputs="an array a of n integers",
        task=rng.choice([f"Find the {word} product of two values at different positions.", f"What is the {word} value of a[i]*a[j] with i<j?"]),
        layouts=array_layouts(),
        simple=Way("O(n^2)", f"ans = a[0]*a[1]\nfor i in range(n):\n    for j in range({pick('i+1', 'i')}, n):\n        ans = {among(f, ['max', 'min'])}(ans, a[i]*a[j])"),
        fast=Way("O(n log n)", f"a.sort()\nans = {pick(fast, *wrong)}"),
        values=lambda r, n: {"a": values_up_to(r.choice([20, 20, -1]), -20)(r, n)},
        little=120, large=3500, hard=f == "min", transforms=("", "double", "half"),
    )  # fmt: skip


def closest_values(rng: random.Random) -> Draft:
    return Draft(
        inputs="an array a of n integers",
        task=rng.choice(["Find the smallest distance between two values at different positions.", "What is the smallest |a[i]-a[j]| with i<j?"]),
        layouts=array_layouts(),
        simple=Way("O(n^2)", f"ans = 10**9\nfor i in range(n):\n    for j in range({pick('i+1', 'i')}, n):\n        ans = {pick('min', 'max')}(ans, abs(a[i]-a[j]))"),
        fast=Way("O(n log n)", f"a.sort()\nans = {pick('min', 'max')}(a[i+1]-a[i] for i in range({pick('n-1', 'n', 'n-2')}))"),
        values=lambda r, n: {"a": r.sample(range(-20 * n, 20 * n), n)},
        little=120, large=3500, transforms=("", "double", "square"),
    )  # fmt: skip


def best_gap(rng: random.Random) -> Draft:
    sign = rng.choice("+-")
    word, f = rng.choice([("largest", "max"), ("smallest", "min")])
    inner = f if sign == "+" else {"max": "min", "min": "max"}[f]
    start = "-10**9" if f == "max" else "10**9"
    return Draft(
        inputs="an array a of n integers",
        task=f"Choose i and j with j-i at least k. What is the {word} value of a[j]{sign}a[i]?",
        layouts=array_layouts("k"),
        simple=Way("O(n^2)", f"ans = {start}\nfor i in range(n):\n    for j in range({pick('i+k', 'i+k+1', 'i+1')}, n):\n        ans = {f}(ans, a[j]{pick(sign, {'+': '-', '-': '+'}[sign])}a[i])"),
        fast=Way("O(n)", f"ans = {start}\nm = a[0]\nfor j in range(k, n):\n    m = {among(inner, ['max', 'min'])}(m, a[{pick('j-k', 'j-k+1', 'j')}])\n    ans = {among(f, ['max', 'min'])}(ans, a[j]{sign}m)"),
        values=lambda r, n: {"a": values_up_to(20)(r, n), "k": r.randint(1, max(1, min(n - 1, 3)))},
        little=150, large=3500, transforms=ANY, hard=True,
    )  # fmt: skip


def pair_xor(rng: random.Random) -> Draft:
    """Held out: like `pair_equal`, with an operation that no trained family has."""
    return Draft(
        inputs="an array a of n integers",
        task=_count(rng, "a[i] xor a[j] equals k"),
        layouts=array_layouts("k"),
        simple=Way("O(n^2)", ALL_PAIRS.format(test=f"{pick('a[i]^a[j]', 'a[i]+a[j]')} == k")),
        fast=Way("O(n)", f"c = {{}}\nans = 0\nfor v in a:\n    ans += c.get({pick('v^k', 'k-v')}, 0)\n    c[v] = c.get(v, 0)+1"),
        values=lambda r, n: {"a": values_up_to(7)(r, n), "k": r.randint(0, 7)},
        little=150, large=5500,
    )  # fmt: skip


TRAINED = (
    pair_equal,
    pair_remainder,
    pair_limit,
    pair_near,
    inversions,
    best_product,
    closest_values,
    best_gap,
)
HELD_OUT = (pair_xor,)
