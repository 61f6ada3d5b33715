"""What a part asks for: a quantity of an array, a simple way to it and a fast one.

Every simple way takes time n^2 and is right for any values. Every fast way takes time n and is right only where the
values are 0 to 99: it indexes a table by value, or trusts that longer blocks have larger sums. Nothing in a
sentence says which of the two the inputs ask for.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from bench.frontier.problems.draft import COMPARISONS, among, pick

Partner = Callable[[int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """sentence: what is asked. simple, fast: lines with choice points that leave the answer in `s`.

    partner: of a value, one that counts together with it; small arrays hold both, or every answer would be 0.
    """

    family: str
    sentence: str
    simple: str
    fast: str
    partner: Partner


def _itself(value: int) -> int:
    return value


def _pairs(condition: str, then: str = "s += 1", start: str = "0") -> str:
    return f"""s = {start}
for i in range(n):
    for j in range({pick("i+1", "0")}, n):
        if {condition}:
            {then}"""


def _earlier(size: int, gain: str) -> str:
    """A table of the values before, by value."""
    return f"s = 0\nc = [0]*{size}\nfor v in a:\n    s += {gain}\n    c[v] += 1"


def equal_pairs(rng: random.Random) -> Quantity:
    words, op = rng.choice([("equal to", "=="), ("different from", "!=")])
    gains = {"==": "c[v]", "!=": "sum(c)-c[v]"}
    return Quantity(
        family="equal_pairs",
        sentence=f"the number of pairs i<j with a[i] {words} a[j]",
        simple=_pairs(f"a[i] {among(op, list(gains))} a[j]"),
        fast=_earlier(100, among(gains[op], list(gains.values()))),
        partner=_itself,
    )


def sum_pairs(rng: random.Random) -> Quantity:
    totals = ["90", "100", "110", "120"]
    k = rng.choice(totals)
    return Quantity(
        family="sum_pairs",
        sentence=f"the number of pairs i<j with sum {k}",
        simple=_pairs(f"a[i]+a[j] == {among(k, totals)}"),
        fast=_earlier(
            200, f"c[{pick(f'{k}-v', f'v-{k}', *(f'{other}-v' for other in totals if other != k))}]"
        ),
        partner=lambda v, k=int(k): k - v,
    )


def apart_pairs(rng: random.Random) -> Quantity:
    d = rng.choice("1234")
    return Quantity(
        family="apart_pairs",
        sentence=f"the number of pairs i<j whose values are exactly {d} apart",
        simple=_pairs(f"{pick(f'abs(a[i]-a[j]) == {d}', f'a[i]-a[j] == {d}', f'abs(a[i]-a[j]) <= {d}')}"),
        fast=_earlier(110, pick(f"c[v-{d}]+c[v+{d}]", f"c[v-{d}]", f"c[v+{d}]")),
        partner=lambda v, d=int(d): v + d if v + d < 100 or v >= 100 else v - d,
    )


def ordered_pairs(rng: random.Random) -> Quantity:
    op, words = rng.choice(list(COMPARISONS.items()))
    gains = {"<": "sum(c[:v])", "<=": "sum(c[:v+1])", ">": "sum(c[v+1:])", ">=": "sum(c[v:])"}
    return Quantity(
        family="ordered_pairs",
        sentence=f"the number of pairs i<j with a[i] {words} a[j]",
        simple=_pairs(f"a[i] {among(op, list(COMPARISONS))} a[j]"),
        fast=_earlier(100, among(gains[op], list(gains.values()))),
        partner=_itself,
    )


def _tally(end: str, start: str = "0") -> str:
    return f"""s = {start}
for i in range(n):
    k = 0
    for j in range({pick("n", "i")}):
        if a[j] == a[i]:
            k += 1
    {end}"""


_TABLE = "c = [0]*100\nfor v in a:\n    c[v] += 1\n"


def occurrences(rng: random.Random) -> Quantity:
    tests = {
        "== 1": "exactly once",
        "== 2": "exactly twice",
        ">= 2": "more than once",
        ">= 3": "more than twice",
    }
    test = rng.choice(list(tests))
    chosen = among(test, list(tests))
    return Quantity(
        family="occurrences",
        sentence=f"the number of positions whose value occurs {tests[test]}",
        simple=_tally(f"if k {chosen}:\n        s += 1"),
        fast=f"{_TABLE}s = 0\nfor k in c:\n    if k {chosen}:\n        s += {pick('k', '1')}",
        partner=_itself,
    )


def most_often(rng: random.Random) -> Quantity:
    word, f, start = rng.choice([("largest", "max", "0"), ("smallest", "min", "n")])
    both = ["max", "min"]
    return Quantity(
        family="most_often",
        sentence=f"the {word} number of times that a value of a occurs in a",
        simple=_tally(f"s = {among(f, both)}(s, k)", start),
        fast=f"{_TABLE}s = {among(f, both)}({pick('k for k in c if k', 'k for k in c')})",
        partner=_itself,
    )


def spread(rng: random.Random) -> Quantity:
    words, slow, table = rng.choice(
        [
            ("difference", "abs(a[i]-a[j])", "(x-y)"),
            ("squared difference", "(a[i]-a[j])**2", "(x-y)**2"),
            ("difference, counted as 9 where it is more,", "min(9, abs(a[i]-a[j]))", "min(9, x-y)"),
        ]
    )
    slows = ["abs(a[i]-a[j])", "(a[i]-a[j])**2", "min(9, abs(a[i]-a[j]))"]
    tables = ["(x-y)", "(x-y)**2", "min(9, x-y)"]
    return Quantity(
        family="spread",
        sentence=f"the sum of the {words} over all pairs i<j",
        simple=f"s = 0\nfor i in range(n):\n    for j in range({pick('i', 'n')}):\n        s += {among(slow, slows)}",
        fast=f"{_TABLE}s = 0\nfor x in range(100):\n    for y in range({pick('x', '100')}):\n        s += c[x]*c[y]*{among(table, tables)}",
        partner=lambda v: v - 3 if v % 10 > 2 else v + 3,
    )  # fmt: skip


def distance(rng: random.Random) -> Quantity:
    if rng.random() < 0.5:
        word, f, start, none = "largest", "max", "0", "0"
        fast = f"s = 0\nc = [-1]*100\nfor i in range(n):\n    if c[a[i]] {pick('<', '>=')} 0:\n        c[a[i]] = i\n    s = {pick('max', 'min')}(s, i-c[a[i]])"
    else:
        word, f, start, none = "smallest", "min", "n", "n"
        fast = f"s = n\nc = [-n]*100\nfor i in range(n):\n    s = {pick('min', 'max')}(s, i-c[a[i]])\n    c[a[i]] = {pick('i', 'i+1')}"
    return Quantity(
        family="distance",
        sentence=f"the {word} j-i of all i<j with equal values ({none} if there are none)",
        simple=_pairs(f"a[i] {pick('==', '!=')} a[j]", f"s = {among(f, ['max', 'min'])}(s, j-i)", start),
        fast=fast,
        partner=_itself,
    )


def block_sums(rng: random.Random) -> Quantity:
    op, words = rng.choice(list(COMPARISONS.items()))
    k = rng.choice(["80", "150"])
    keeps = op[0] == "<"  # of the blocks that end at i, those from l on are counted, or those before l
    stop = {"<": ">=", "<=": ">", ">": ">", ">=": ">="}[op]
    gain = pick("i-l+1", "l", "i-l") if keeps else pick("l", "i-l+1", "l+1")
    return Quantity(
        family="block_sums",
        sentence=f"the number of blocks of consecutive values with a sum {words} {k}",
        simple=f"s = 0\nfor i in range(n):\n    u = 0\n    for j in range({pick('i', 'i+1')}, n):\n        u += a[j]\n        if u {among(op, list(COMPARISONS))} {k}:\n            s += 1",
        fast=f"s = u = l = 0\nfor i in range(n):\n    u += a[i]\n    while u {pick(stop, {'>': '>=', '>=': '>'}[stop])} {k}:\n        u -= a[l]\n        l += 1\n    s += {gain}",
        partner=lambda v, k=int(k): k - v,
    )  # fmt: skip


QUANTITIES: dict[str, Callable[[random.Random], Quantity]] = {
    family.__name__: family
    for family in (
        equal_pairs, sum_pairs, apart_pairs, ordered_pairs, occurrences, most_often, spread, distance, block_sums,
    )
}  # fmt: skip
