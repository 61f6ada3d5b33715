"""Counting and choosing by recursion: exponential as it is told, fast with a table."""

from __future__ import annotations

import random

from bench.frontier.problems.draft import Draft, Way, among, array_layouts, number_layouts, pick, values_up_to


def ordered_sums(rng: random.Random) -> Draft:
    m = rng.choice(["97", "1009"])
    return Draft(
        inputs="integers n, a, b, c",
        task=f"Count the ordered sequences of a, b and c with sum n, modulo {m}.",
        layouts=number_layouts("n", "a", "b", "c"),
        simple=Way("O(2^n)", f"def f(k):\n    if k < 0:\n        return 0\n    if k == 0:\n        return {pick('1', '0')}\n    return f(k-a)+f(k-b)+f(k-{pick('c', 'a')})\nans = f(n)%{m}"),
        fast=Way("O(n)", f"d = [{pick('1', '0')}]+[0]*n\nfor k in range(1, n+1):\n    for s in (a, b, c):\n        if s {pick('<=', '<')} k:\n            d[k] = (d[k]+d[{pick('k-s', 's')}])%{m}\nans = d[n]"),
        values=lambda r, n: dict(zip("nabc", (n, *r.choice([(1, 2, 3), (1, 2, 4), (1, 3, 4), (1, 2, 5)])), strict=True)),
        little=11, large=300, sizes=((2, 5), (4, 8), (9, 11)),
    )  # fmt: skip


def unordered_sums(rng: random.Random) -> Draft:
    return Draft(
        inputs="the values a of n coins",
        task=rng.choice(["In how many ways can they pay k, each coin used any number of times?", "Count the ways to pay k with them, each used any number of times."]),
        layouts=array_layouts("k"),
        simple=Way("O(2^n)", f"def f(i, k):\n    if k == 0:\n        return 1\n    if k < 0 or i == n:\n        return 0\n    return f(i+1, k)+f({pick('i', 'i+1', '0')}, k-a[i])\nans = f(0, k)"),
        fast=Way("O(nk)", f"d = [1]+[0]*k\nfor v in a:\n    for s in {pick('range(v, k+1)', 'range(v, k)', 'range(k, v-1, -1)')}:\n        d[s] += d[{pick('s-v', 's-1')}]\nans = d[k]"),
        values=lambda r, k: {"a": r.sample(range(1, 10), 3) if k < 60 else r.sample(range(2, 20), 8), "k": k},
        little=30, large=500, sizes=((4, 9), (6, 16), (20, 30)), bounded="k", hard=True,
    )  # fmt: skip


def grid_paths(rng: random.Random) -> Draft:
    m = rng.choice(["97", "1009"])
    diagonal = rng.random() < 0.5
    steps = (
        "one step right, one step down or one step diagonally down-right"
        if diagonal
        else "one step right or one step down"
    )
    back, fwd = (
        ("f(i-1, j)+f(i, j-1)+f(i-1, j-1)", "e[-1]+d[j]+d[j-1]")
        if diagonal
        else ("f(i-1, j)+f(i, j-1)", "e[-1]+d[j]")
    )
    return Draft(
        inputs="an integer n",
        task=f"On an n by n board you start in the top left cell and move {steps}. Count the ways to reach the bottom right cell, modulo {m}.",
        layouts=number_layouts("n"),
        simple=Way("O(2^n)", f"def f(i, j):\n    if i < 0 or j < 0:\n        return 0\n    if i == 0 and j == 0:\n        return 1\n    return {among(back, ['f(i-1, j)+f(i, j-1)+f(i-1, j-1)', 'f(i-1, j)+f(i, j-1)'])}\nans = f({pick('n-1, n-1', 'n, n')})%{m}"),
        fast=Way("O(n^2)", f"d = [1]*n\nfor i in range({pick('1', '0')}, n):\n    e = [1]\n    for j in range(1, n):\n        e.append(({among(fwd, ['e[-1]+d[j]', 'e[-1]+d[j]+d[j-1]', 'd[j]+d[j-1]'])})%{m})\n    d = e\nans = d[-1]%{m}"),
        values=lambda r, n: {"n": n}, little=6, large=60, sizes=((1, 3), (2, 5), (5, 6)),
    )  # fmt: skip


def apart_sum(rng: random.Random) -> Draft:
    return Draft(
        inputs="an array a of n integers",
        task=rng.choice(["Choose values of which no two are neighbours. What is the largest sum?", "Find the largest sum of values of which no two stand side by side."]),
        layouts=array_layouts(),
        simple=Way("O(2^n)", f"def f(i):\n    if i >= n:\n        return 0\n    return {pick('max', 'min')}(f(i+1), a[i]+f({pick('i+2', 'i+1', 'i+3')}))\nans = f(0)"),
        fast=Way("O(n)", f"u = v = 0\nfor x in a:\n    u, v = v, {pick('max', 'min')}(v, {pick('u+x', 'v+x', 'x')})\nans = v"),
        values=lambda r, n: {"a": values_up_to(20)(r, n)},
        little=14, large=60, sizes=((2, 4), (4, 7), (12, 14)), transforms=("", "", "square", "distance", "half"),
    )  # fmt: skip


def subset_sums(rng: random.Random) -> Draft:
    return Draft(
        inputs="an array a of n integers",
        task=rng.choice(["How many ways are there to choose positions whose values add up to k?", "Count the sets of positions whose values have the sum k."]),
        layouts=array_layouts("k"),
        simple=Way("O(2^n)", f"def f(i, k):\n    if i == n:\n        return {pick('k == 0', 'k <= 0', 'k > 0')}\n    return f(i+1, k)+f(i+1, k-a[i])\nans = f(0, k)+0"),
        fast=Way("O(nk)", f"d = [1]+[0]*k\nfor v in a:\n    for s in {pick('range(k, v-1, -1)', 'range(v, k+1)', 'range(k, v, -1)')}:\n        d[s] += d[{pick('s-v', 's-1')}]\nans = d[k]"),
        values=lambda r, n: {"a": values_up_to(9, 1)(r, n), "k": r.randint(4, 12) if n < 9 else 2 * n + r.randint(0, 9)},
        little=9, large=40, sizes=((2, 4), (4, 6), (8, 9)), hard=True,
    )  # fmt: skip


TRAINED = (ordered_sums, unordered_sums, grid_paths, apart_sum, subset_sums)
