"""Blocks of consecutive values of an array."""

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

ALL_BLOCKS = """ans = 0
for i in range(n):
    s = 0
    for j in range({start}, n):
        s += a[j]
        if {test}:
            {then}"""
ANY_SIGN = ("", "", "", "square", "distance", "half", "last digit")


def _blocks(test: str, then: str = "ans += 1") -> str:
    return ALL_BLOCKS.format(start=pick("i", "i+1"), test=test, then=then)


def _count(rng: random.Random, what: str) -> str:
    return rng.choice(
        [
            f"How many blocks of consecutive values {what}?",
            f"Count the blocks of consecutive values that {what}.",
        ]
    )


def best_block(rng: random.Random) -> Draft:
    word, f = rng.choice([("largest", "max"), ("smallest", "min")])
    both = ["max", "min"]
    return Draft(
        inputs="an array a of n integers",
        task=rng.choice([f"Find the {word} sum of a non-empty block of consecutive values.", f"What is the {word} sum that consecutive values can have?"]),
        layouts=array_layouts(),
        simple=Way("O(n^2)", f"ans = a[0]\nfor i in range(n):\n    s = 0\n    for j in range({pick('i', 'i+1')}, n):\n        s += a[j]\n        ans = {among(f, both)}(ans, s)"),
        fast=Way("O(n)", f"ans = a[0]\ns = 0\nfor v in a:\n    s = {among(f, both)}(s+v, {pick('v', '0')})\n    ans = {among(f, both)}(ans, s)"),
        values=lambda r, n: {"a": values_up_to(9, -9)(r, n)},
        little=120, large=4000, transforms=("", "", "half", "double"),
    )  # fmt: skip


def window_sum(rng: random.Random) -> Draft:
    word, f = rng.choice([("largest", "max"), ("smallest", "min")])
    both = ["max", "min"]
    return Draft(
        inputs="an array a of n integers",
        task=f"Find the {word} sum of k consecutive values.",
        layouts=array_layouts("k"),
        simple=Way("O(n^2)", f"ans = {among(f, both)}(sum(a[i:i+k]) for i in range({pick('n-k+1', 'n-k', 'n')}))"),
        fast=Way("O(n)", f"s = sum(a[:k])\nans = s\nfor i in range(k, n):\n    s += a[i]-a[{pick('i-k', 'i-k+1')}]\n    ans = {among(f, both)}(ans, s)"),
        values=lambda r, n: {"a": values_up_to(20)(r, n), "k": r.randint(1, n) if n < 100 else n // 2},
        little=200, large=24000, transforms=ANY,
    )  # fmt: skip


def block_equal(rng: random.Random) -> Draft:
    return Draft(
        inputs="an array a of n integers",
        task=_count(rng, "add up to k"),
        layouts=array_layouts("k"),
        simple=Way("O(n^2)", _blocks(f"s {pick('==', '<=')} k")),
        fast=Way("O(n)", f"c = {{{pick('0: 1', '')}}}\nans = s = 0\nfor v in a:\n    s += v\n    ans += c.get({pick('s-k', 'k-s', 's+k')}, 0)\n    c[s] = c.get({pick('s', 'v')}, 0)+1"),
        values=lambda r, n: {"a": values_up_to(5)(r, n), "k": r.randint(3, 12)},
        little=150, large=4500, transforms=ANY_SIGN, hard=True,
    )  # fmt: skip


def block_remainder(rng: random.Random) -> Draft:
    return Draft(
        inputs="an array a of n integers",
        task=_count(rng, "have a sum that leaves remainder r by m"),
        layouts=array_layouts("m", "r"),
        simple=Way("O(n^2)", _blocks(f"s%m == {pick('r', '0')}")),
        fast=Way("O(n)", f"c = [0]*m\nc[{pick('0', 'r')}] = 1\nans = s = 0\nfor v in a:\n    s = (s+v)%m\n    ans += c[({pick('s-r', 'r-s', 's+r')})%m]\n    c[{pick('s', 'v%m')}] += 1"),
        values=lambda r, n: {"a": values_up_to(30)(r, n), "m": (m := r.randint(3, 8)), "r": r.randrange(m)},
        little=150, large=4500, transforms=ANY, hard=True,
    )  # fmt: skip


def block_limit(rng: random.Random) -> Draft:
    op, words = comparison(rng)
    low = op[0] == "<"  # how many of the blocks that end at i: those from l on, or those before l
    stop = {"<": ">=", "<=": ">", ">": ">", ">=": ">="}[op]
    add = "i-l+1" if low else "l"
    return Draft(
        inputs="an array a of n integers",
        task=_count(rng, f"have a sum {words} k"),
        layouts=array_layouts("k"),
        simple=Way("O(n^2)", _blocks(f"s {among(op, list(COMPARISONS))} k")),
        fast=Way("O(n)", f"ans = s = l = 0\nfor i in range(n):\n    s += a[i]\n    while s {pick(stop, {'>': '>=', '>=': '>'}[stop])} k:\n        s -= a[l]\n        l += 1\n    ans += {among(add, ['i-l+1', 'i-l', 'l', 'l+1'])}"),
        values=lambda r, n: {"a": values_up_to(9, 1)(r, n), "k": r.randint(8, 20)},
        little=150, large=4500, transforms=("", "", "", "square", "half", "double"), hard=True,
    )  # fmt: skip


def distinct_block(rng: random.Random) -> Draft:
    return Draft(
        inputs="an array a of n integers",
        task=rng.choice(["Find the length of the longest block of consecutive values that are all different.", "How long is the longest block of consecutive values without a repeat?"]),
        layouts=array_layouts(),
        simple=Way("O(n^2)", f"ans = 0\nfor i in range(n):\n    s = set()\n    for j in range(i, n):\n        if a[j] in s:\n            {pick('break', 'continue')}\n        s.add(a[j])\n    ans = max(ans, {pick('len(s)', 'j-i+1', 'j-i')})"),
        fast=Way("O(n)", f"p = {{}}\nans = l = 0\nfor i in range(n):\n    l = {pick('max(l, p.get(a[i], -1)+1)', 'p.get(a[i], -1)+1', 'max(l, p.get(a[i], 0))')}\n    p[a[i]] = i\n    ans = max(ans, {pick('i-l+1', 'i-l')})"),
        values=lambda r, n: {"a": r.sample(range(n), n)[: n - n // 3] + values_up_to(max(4, n // 4))(r, n // 3) if n > 300 else values_up_to(max(4, n // 3))(r, n)},
        little=150, large=4500, transforms=("",), hard=True,
    )  # fmt: skip


def longest_limit(rng: random.Random) -> Draft:
    """Held out: the question of `block_limit` put to lengths."""
    return Draft(
        inputs="an array a of n integers",
        task="Find the length of the longest block of consecutive values that have a sum at most k.",
        layouts=array_layouts("k"),
        simple=Way("O(n^2)", _blocks(f"s {pick('<=', '<')} k", "ans = max(ans, j-i+1)")),
        fast=Way("O(n)", f"ans = s = l = 0\nfor i in range(n):\n    s += a[i]\n    while s {pick('>', '>=')} k:\n        s -= a[l]\n        l += 1\n    ans = max(ans, {pick('i-l+1', 'i-l')})"),
        values=lambda r, n: {"a": values_up_to(9, 1)(r, n), "k": r.randint(8, 20)},
        little=150, large=4500, hard=True,
    )  # fmt: skip


TRAINED = (best_block, window_sum, block_equal, block_remainder, block_limit, distinct_block)
HELD_OUT = (longest_limit,)
