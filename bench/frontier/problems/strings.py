"""Strings of small letters."""

from __future__ import annotations

import random
import string

from bench.frontier.problems.draft import Draft, Layout, Way, among, pick

LETTERS = [Layout("The input is one line.", "s = input()\nn = len(s)", lambda v: f"{v['s']}\n")]
TWO_LETTERS = [
    Layout("The first line holds s, the second x and y.", "s = input()\nx, y = input().split()\nn = len(s)", lambda v: f"{v['s']}\n{v['x']} {v['y']}\n"),
    Layout("The first line holds x and y, the second s.", "x, y = input().split()\ns = input()\nn = len(s)", lambda v: f"{v['x']} {v['y']}\n{v['s']}\n"),
]  # fmt: skip


def _word(rng: random.Random, n: int, letters: int) -> str:
    return "".join(rng.choice(string.ascii_lowercase[:letters]) for _ in range(n))


def letter_pairs(rng: random.Random) -> Draft:
    return Draft(
        inputs="a string s and two different letters x, y",
        task=rng.choice(["Count the pairs i<j such that s[i] is x and s[j] is y.", "How often does an x stand somewhere before a y (all pairs)?"]),
        layouts=TWO_LETTERS,
        simple=Way("O(n^2)", f"ans = 0\nfor i in range(n):\n    for j in range({pick('i+1', '0')}, n):\n        if s[i] == {pick('x', 'y')} and s[j] == y:\n            ans += 1"),
        fast=Way("O(n)", f"ans = k = 0\nfor v in s:\n    if v == {pick('x', 'y')}:\n        k += 1\n    {pick('if', 'elif')} v == y:\n        ans += {pick('k', '1')}"),
        values=lambda r, n: {"s": _word(r, n, 3), **dict(zip("xy", r.sample("abc", 2), strict=True))},
        little=150, large=5000, bounded="the length of s",
    )  # fmt: skip


def balanced(rng: random.Random) -> Draft:
    return Draft(
        inputs="a string s and two different letters x, y",
        task=rng.choice(["Count the non-empty substrings that hold as many x as y.", "How many non-empty substrings have equally many x and y?"]),
        layouts=TWO_LETTERS,
        simple=Way("O(n^2)", f"ans = 0\nfor i in range(n):\n    d = 0\n    for j in range(i, n):\n        d += (s[j] == x)-(s[j] == y)\n        if d {pick('== 0', '>= 0', '> 0')}:\n            ans += 1"),
        fast=Way("O(n)", f"c = {{{pick('0: 1', '')}}}\nans = d = 0\nfor v in s:\n    d += (v == x){pick('-', '+')}(v == y)\n    ans += c.get({pick('d', '-d', '0')}, 0)\n    c[d] = c.get(d, 0)+1"),
        values=lambda r, n: {"s": _word(r, n, 3), **dict(zip("xy", r.sample("abc", 2), strict=True))},
        little=150, large=4500, bounded="the length of s", hard=True,
    )  # fmt: skip


def palindromes(rng: random.Random) -> Draft:
    counts = rng.random() < 0.5
    task = (
        "How many non-empty substrings are palindromes (by place)?"
        if counts
        else "Find the length of the longest substring that is a palindrome."
    )
    keep = "ans += 1" if counts else "ans = max(ans, j-i)"
    grow = "ans += 1" if counts else "ans = max(ans, r-l+1)"
    wrong = "ans += 2" if counts else "ans = max(ans, r-l)"
    return Draft(
        inputs="a string s",
        task=task,
        layouts=LETTERS,
        simple=Way("O(n^3)", f"ans = 0\nfor i in range(n):\n    for j in range(i+1, {pick('n+1', 'n')}):\n        t = s[i:j]\n        if t == t[::-1]:\n            {keep}"),
        fast=Way("O(n^2)", f"ans = 0\nfor c in range({pick('2*n-1', 'n', '2*n')}):\n    l = c//2\n    r = {pick('l+c%2', 'l', 'l+1')}\n    while l >= 0 and r < n and s[l] == s[r]:\n        {pick(grow, wrong)}\n        l -= 1\n        r += 1"),
        values=lambda r, n: {"s": _word(r, n, 2 if n < 300 else 4)},
        little=60, large=2200, bounded="the length of s", hard=True,
    )  # fmt: skip


def equal_letters(rng: random.Random) -> Draft:
    word, op = rng.choice([("the same letter", "=="), ("different letters", "!=")])
    fast = {"==": "i-(i-c.get(s[i], 0))", "!=": "i-c.get(s[i], 0)"}
    fast["=="] = "c.get(s[i], 0)"
    return Draft(
        inputs="a string s",
        task=rng.choice([f"Count the pairs i<j where s[i] and s[j] are {word}.", f"How many pairs of places hold {word}?"]),
        layouts=LETTERS,
        simple=Way("O(n^2)", f"ans = 0\nfor i in range(n):\n    for j in range({pick('i+1', 'i')}, n):\n        if s[i] {among(op, ['==', '!='])} s[j]:\n            ans += 1"),
        fast=Way("O(n)", f"c = {{}}\nans = 0\nfor i in range(n):\n    ans += {among(fast[op], [*fast.values(), 'i'])}\n    c[s[i]] = c.get(s[i], 0)+1"),
        values=lambda r, n: {"s": _word(r, n, 4)},
        little=150, large=4500, bounded="the length of s",
    )  # fmt: skip


TRAINED = (letter_pairs, balanced, palindromes, equal_letters)
