"""One look at every value: neighbours, subsequences, repeats."""

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


def next_partner(rng: random.Random) -> Draft:
    op, words = comparison(rng)
    return Draft(
        inputs="an array a of n integers",
        task=f"The partner of i is the first j after i where a[j] is {words} a[i]. Add up j-i over every i with a partner.",
        layouts=array_layouts(),
        simple=Way("O(n^2)", f"ans = 0\nfor i in range(n):\n    for j in range(i+1, n):\n        if a[j] {among(op, list(COMPARISONS))} a[i]:\n            ans += j-i\n            {pick('break', 'continue')}"),
        fast=Way("O(n)", f"st = []\nans = 0\nfor i in range(n):\n    {pick('while', 'if')} st and a[i] {among(op, list(COMPARISONS))} a[st[-1]]:\n        ans += i-st.pop()\n    st.append(i)"),
        values=lambda r, n: {"a": _slope(r, n, op)},
        little=150, large=5000, hard=True,
    )  # fmt: skip


def _slope(rng: random.Random, n: int, op: str) -> list[int]:
    """Large arrays run against the operator, so that the first partner is far away."""
    if n < 300:
        return [rng.randint(0, 15) for _ in range(n)]
    way = -1 if op[0] == ">" else 1
    return [way * i * 3 + rng.randint(0, 1) for i in range(n)]


def longest_chain(rng: random.Random) -> Draft:
    words, op, bisect, values = rng.choice(
        [("strictly increasing", "<", "bisect_left", "a"), ("non-decreasing", "<=", "bisect_right", "a"),
         ("strictly decreasing", ">", "bisect_left", "[-x for x in a]"), ("non-increasing", ">=", "bisect_right", "[-x for x in a]")]
    )  # fmt: skip
    return Draft(
        inputs="an array a of n integers",
        task=rng.choice([f"Find the length of the longest {words} subsequence.", f"How long is the longest {words} subsequence?"]),
        layouts=array_layouts(),
        simple=Way("O(n^2)", f"d = [1]*n\nfor i in range(n):\n    for j in range(i):\n        if a[j] {among(op, list(COMPARISONS))} a[i]:\n            d[i] = max(d[i], d[j]+1)\nans = {pick('max(d)', 'd[-1]')}"),
        fast=Way("O(n log n)", f"b = []\nfor v in {among(values, ['a', '[-x for x in a]'])}:\n    p = {among(bisect, ['bisect_left', 'bisect_right'])}(b, v)\n    if p == len(b):\n        b.append(v)\n    else:\n        b[p] = v\nans = len(b)", "from bisect import *"),
        values=lambda r, n: {"a": values_up_to(25)(r, n)},
        little=150, large=4500, transforms=ANY, hard=True,
    )  # fmt: skip


def frequency(rng: random.Random) -> Draft:
    op, words = rng.choice([*COMPARISONS.items(), ("==", "exactly")])
    ops = [*COMPARISONS, "=="]
    return Draft(
        inputs="an array a of n integers",
        task=rng.choice([f"Count the positions whose value occurs {words} k times in the array.", f"How many positions hold a value that occurs {words} k times?"]),
        layouts=array_layouts("k"),
        simple=Way("O(n^2)", f"ans = 0\nfor v in {pick('a', 'set(a)')}:\n    if a.count(v) {among(op, ops)} k:\n        ans += 1"),
        fast=Way("O(n)", f"c = {{}}\nfor v in a:\n    c[v] = c.get(v, 0)+1\nans = 0\nfor v in {pick('a', 'c')}:\n    if c[v] {among(op, ops)} k:\n        ans += 1"),
        values=lambda r, n: {"a": values_up_to(max(3, n // 3))(r, n), "k": r.randint(1, 4)},
        little=200, large=9000, transforms=ANY,
    )  # fmt: skip


def seen_before(rng: random.Random) -> Draft:
    old = rng.random() < 0.5
    return Draft(
        inputs="an array a of n integers",
        task="Scanning from left to right, how many values have " + ("been met before?" if old else "not been met before?"),
        layouts=array_layouts(),
        simple=Way("O(n^2)", f"ans = 0\nfor i in range(n):\n    if a[i] {among('in' if old else 'not in', ['in', 'not in'])} a[:{pick('i', 'i+1')}]:\n        ans += 1"),
        fast=Way("O(n)", f"s = set()\nans = 0\nfor v in a:\n    if v {among('in' if old else 'not in', ['in', 'not in'])} s:\n        ans += 1\n    s.add(v)"),
        values=lambda r, n: {"a": values_up_to(n if n < 300 else 30 * n)(r, n)},
        little=200, large=20000, transforms=ANY,
    )  # fmt: skip


def records(rng: random.Random) -> Draft:
    words, op, f = rng.choice([("greater than", ">", "max"), ("less than", "<", "min"), ("at least", ">=", "max"), ("at most", "<=", "min")])  # fmt: skip
    return Draft(
        inputs="an array a of n integers",
        task=rng.choice([f"Count the values that are {words} every value before them (the first counts).", f"How many values are {words} all values before them? The first is one of them."]),
        layouts=array_layouts(),
        simple=Way("O(n^2)", f"ans = {pick('1', '0')}\nfor i in range(1, n):\n    if a[i] {among(op, list(COMPARISONS))} {f}(a[:i]):\n        ans += 1"),
        fast=Way("O(n)", f"m = a[0]\nans = {pick('1', '0')}\nfor v in a[1:]:\n    if v {among(op, list(COMPARISONS))} m:\n        ans += 1\n    m = {among(f, ['max', 'min'])}(m, v)"),
        values=lambda r, n: {"a": values_up_to(20)(r, n)},
        little=200, large=9000, transforms=ANY,
    )  # fmt: skip


def water(rng: random.Random) -> Draft:
    return Draft(
        inputs="the heights a of n walls",
        task=rng.choice(["How much rain stays between them?", "Find the number of units of rain that they hold."]),
        layouts=array_layouts(),
        simple=Way("O(n^2)", f"ans = 0\nfor i in range(n):\n    ans += {pick('min', 'max')}(max(a[:{pick('i+1', 'i+2')}]), max(a[i:]))-a[i]"),
        fast=Way("O(n)", f"b = a[:]\nfor i in range({pick('n-2', 'n-1')}, -1, -1):\n    b[i] = max(b[i], b[{pick('i+1', 'i-1')}])\nans = m = 0\nfor i in range(n):\n    m = max(m, a[i])\n    ans += {pick('min', 'max')}(m, {pick('b[i]', 'a[i]')})-a[i]"),
        values=lambda r, n: {"a": values_up_to(15)(r, n)},
        little=200, large=7000, transforms=ANY, hard=True,
    )  # fmt: skip


def farthest_twin(rng: random.Random) -> Draft:
    """Held out: equal values again, at the largest distance."""
    return Draft(
        inputs="an array a of n integers",
        task="Find the largest j-i such that a[i] equals a[j].",
        layouts=array_layouts(),
        simple=Way("O(n^2)", f"ans = 0\nfor i in range(n):\n    for j in range(i+1, n):\n        if a[i] == a[j]:\n            ans = {pick('max', 'min')}(ans, j-i)"),
        fast=Way("O(n)", f"p = {{}}\nans = 0\nfor i in range(n):\n    if a[i] {pick('in', 'not in')} p:\n        ans = max(ans, i-p[a[i]])\n    else:\n        p[a[i]] = i"),
        values=lambda r, n: {"a": values_up_to(max(3, n // 2))(r, n)},
        little=150, large=5000,
    )  # fmt: skip


TRAINED = (next_partner, longest_chain, frequency, seen_before, records, water)
HELD_OUT = (farthest_twin,)
