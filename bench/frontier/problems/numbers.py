"""Number theory and sums: single numbers in, one number out."""

from __future__ import annotations

import random

from bench.frontier.problems.draft import COMPARISONS, Draft, Way, among, number_layouts, pick

SMALL = ((2, 12), (10, 40), (100, 300))


def primes(rng: random.Random) -> Draft:
    test, words, wrong = rng.choice([("p%m == r", "leave remainder r by m", "p%r == m"), ("p%m != r", "do not leave remainder r by m", "p%m == r")])  # fmt: skip
    return Draft(
        inputs="integers n, m, r",
        task=rng.choice([f"How many primes at most n {words}?", f"Count the primes up to n (included) that {words}."]),
        layouts=number_layouts("n", "m", "r"),
        simple=Way("O(n^2)", f"ans = 0\nfor p in range(2, {pick('n+1', 'n')}):\n    if all(p%d for d in range(2, p)) and {pick(test, wrong)}:\n        ans += 1"),
        fast=Way("O(n log n)", f"s = [1]*(n+1)\nans = 0\nfor p in range(2, {pick('n+1', 'n')}):\n    if s[p]:\n        if {pick(test, wrong)}:\n            ans += 1\n        for j in range({pick('p*p', 'p')}, n+1, p):\n            s[j] = 0"),
        values=lambda r, n: {"n": n, "m": (m := r.randint(3, 8)), "r": r.randint(1, m - 1)},
        little=400, large=18000, sizes=SMALL,
    )  # fmt: skip


def multiples(rng: random.Random) -> Draft:
    test, words, fast = rng.choice(
        [("x%a == 0 and x%b == 0", "divisible by both a and b", "f(a*b//gcd(a, b))"),
         ("x%a == 0 or x%b == 0", "divisible by a or b", "f(a)+f(b)-f(a*b//gcd(a, b))"),
         ("(x%a == 0) != (x%b == 0)", "divisible by exactly one of a and b", "f(a)+f(b)-2*f(a*b//gcd(a, b))"),
         ("x%a and x%b", "divisible by neither a nor b", "m-f(a)-f(b)+f(a*b//gcd(a, b))")]
    )  # fmt: skip
    top, end, m = rng.choice([("less than n", "n", "n-1"), ("at most n", "n+1", "n")])
    return Draft(
        inputs="integers n, a, b",
        task=rng.choice([f"Consider the positive integers {top} that are {words}. How many are there?", f"How many positive integers {top} are {words}?"]),
        layouts=number_layouts("n", "a", "b"),
        simple=Way("O(n)", f"ans = 0\nfor x in range(1, {among(end, ['n', 'n+1'])}):\n    if {pick(test, 'x%a == 0 and x%b', 'x%a == 0')}:\n        ans += 1"),
        fast=Way("O(1)", f"m = {among(m, ['n', 'n-1'])}\ndef f(k):\n    return m//k\nans = {pick(fast, 'f(a)+f(b)', 'f(a*b)', fast.replace('a*b//gcd(a, b)', 'a*b'))}", "from math import *"),
        values=lambda r, n: {"n": n, "a": r.randint(2, 9), "b": r.randint(2, 12)},
        little=2000, large=10**9, sizes=((5, 30), (20, 99), (300, 900)), hard=True,
    )  # fmt: skip


def power(rng: random.Random) -> Draft:
    m = rng.choice(["97", "1009"])
    sign, words = rng.choice([("+", "plus"), ("-", "minus"), ("*", "times")])
    signs = ["+", "-", "*"]
    return Draft(
        inputs="integers n, c, d",
        task=f"What is c to the power n, {words} d, modulo {m}?",
        layouts=number_layouts("n", "c", "d"),
        simple=Way("O(n)", f"ans = 1\nfor i in range(n):\n    ans = ans*c%{among(m, ['97', '1009'])}\nans = (ans{among(sign, signs)}d)%{m}"),
        fast=Way("O(log n)", f"ans = {pick('1', 'c')}\nb = c\nwhile n:\n    if n{pick('&1', '%2 == 0')}:\n        ans = ans*b%{m}\n    b = b*b%{among(m, ['97', '1009'])}\n    n //= 2\nans = (ans{among(sign, signs)}d)%{m}"),
        values=lambda r, n: {"n": n, "c": r.randint(2, 12), "d": r.randint(1, 20)},
        little=3000, large=10**9, sizes=((1, 6), (3, 20), (50, 300)),
    )  # fmt: skip


def series(rng: random.Random) -> Draft:
    term, total, wrong = rng.choice(
        [("c*i+d", "c*m*(m+1)//2+d*m", ["c*m*(m+1)+d*m", "c*m*(m-1)//2+d*m", "c*m*(m+1)//2+d"]),
         ("c*i*i+d", "c*m*(m+1)*(2*m+1)//6+d*m", ["c*m*(m+1)//2+d*m", "c*m*(m+1)*(m+2)//6+d*m", "c*m*(m+1)*(2*m+1)//6+d"]),
         ("c*i*i+d*i", "c*m*(m+1)*(2*m+1)//6+d*m*(m+1)//2", ["c*m*(m+1)*(2*m+1)//6+d*m", "c*m*(m+1)//2+d*m*(m+1)//2"])]
    )  # fmt: skip
    top, end, m = rng.choice([("(not included)", "n", "n-1"), ("(included)", "n+1", "n")])
    return Draft(
        inputs="integers n, c, d",
        task=f"Add up {term} over all i from 1 to n {top}.",
        layouts=number_layouts("n", "c", "d"),
        simple=Way("O(n)", f"ans = 0\nfor i in range({pick('1', '0')}, {among(end, ['n', 'n+1'])}):\n    ans += {among(term, ['c*i+d', 'c*i*i+d', 'c*i*i+d*i'])}"),
        fast=Way("O(1)", f"m = {among(m, ['n', 'n-1'])}\nans = {pick(total, *wrong)}"),
        values=lambda r, n: {"n": n, "c": r.randint(1, 9), "d": r.randint(1, 9)},
        little=3000, large=10**9, sizes=((2, 6), (3, 20), (50, 300)),
    )  # fmt: skip


def recurrence(rng: random.Random) -> Draft:
    m = rng.choice(["97", "1009"])
    back = rng.choice(["x*f(k-1)+y*f(k-2)", "x*f(k-1)-y*f(k-2)"])
    step = {"x*f(k-1)+y*f(k-2)": "x*v+y*u", "x*f(k-1)-y*f(k-2)": "x*v-y*u"}
    return Draft(
        inputs="integers n, p, q, x, y",
        task=f"A sequence starts with p, q and goes on with f(k)={back}. Find f(n) modulo {m}, where f(0) is p.",
        layouts=number_layouts("n", "p", "q", "x", "y"),
        simple=Way("O(2^n)", f"def f(k):\n    if k < 2:\n        return (p, q)[k]\n    return {among(back, list(step))}\nans = f(n)%{m}"),
        fast=Way("O(n)", f"u, v = p, q\nfor _ in range({pick('n', 'n-1', 'n+1')}):\n    u, v = v, ({among(step[back], [*step.values(), 'x*u+y*v'])})%{m}\nans = {pick('u', 'v')}%{m}"),
        values=lambda r, n: {"n": n, **{k: r.randint(1, 5) for k in "pqxy"}},
        little=14, large=40, sizes=((2, 5), (3, 9), (10, 13)),
    )  # fmt: skip


def smallest_root(rng: random.Random) -> Draft:
    f = rng.choice(["c*x*x+d*x", "c*x*x+d", "x*x+c*x+d", "x*x*x+c*x"])
    op, words, go = rng.choice([(">", "greater than", "<="), (">=", "at least", "<")])
    g = f.replace("x", "m")
    return Draft(
        inputs="integers n, c, d",
        task=rng.choice([f"Find the smallest integer x>=0 such that {f} is {words} n.", f"What is the smallest x>=0 for which {f} is {words} n?"]),
        layouts=number_layouts("n", "c", "d"),
        simple=Way("O(n)", f"x = 0\nwhile {f} {among(go, ['<', '<='])} n:\n    x += 1\nans = {pick('x', 'x-1')}"),
        fast=Way("O(log n)", f"l, r = 0, {pick('n+1', 'n')}\nwhile l < r:\n    m = (l+r)//2\n    if {g} {among(op, list(COMPARISONS))} n:\n        r = {pick('m', 'm-1')}\n    else:\n        l = m+1\nans = {pick('l', 'l-1', 'm')}"),
        values=lambda r, n: {"n": n, "c": r.randint(1, 5), "d": r.randint(1, 9)},
        little=5000, large=10**20, sizes=((1, 20), (10, 90), (200, 900)), hard=True,
    )  # fmt: skip


def divisors(rng: random.Random) -> Draft:
    word, add, test = rng.choice([("number", "1", "d%2 == 0"), ("sum", "d", "d%2 == 0"), ("number", "1", "d%2"), ("sum", "d", "d%2"), ("number", "1", ""), ("sum", "d", "")])  # fmt: skip
    kind = {"": "", "d%2": "odd ", "d%2 == 0": "even "}[test]
    other = pick(test, *(t for t in ("d%2", "d%2 == 0") if t != test))
    simple = f"if n%d == 0{' and ' + other if test else ''}:\n        ans += {among(add, ['1', 'd'])}"
    mirror = add.replace("d", "e")
    if test:
        far = other.replace("d", "e")
        fast = f"    if n%d == 0:\n        if {other}:\n            ans += {add}\n        e = n//d\n        if e {pick('!=', '==')} d{' and ' + far}:\n            ans += {among(mirror, ['1', 'e'])}"
    else:
        fast = f"    if n%d == 0:\n        ans += {among(add, ['1', 'd'])}\n        e = n//d\n        if e {pick('!=', '==')} d:\n            ans += {among(mirror, ['1', 'e'])}"
    return Draft(
        inputs="an integer n",
        task=rng.choice([f"What is the {word} of the {kind}positive divisors of n?", f"Find the {word} of all {kind}positive divisors of n."]),
        layouts=number_layouts("n"),
        simple=Way("O(n)", f"ans = 0\nfor d in range(1, {pick('n+1', 'n')}):\n    {simple}"),
        fast=Way("O(sqrt n)", f"ans = 0\nd = 1\nwhile d*d {pick('<=', '<')} n:\n{fast}\n    d += 1"),
        values=lambda r, n: {"n": r.choice([n, n, r.randint(1, max(1, round(n**0.5))) ** 2]) if n < 10**6 else round((n - r.randint(0, n // 5)) ** 0.5) ** 2},
        little=3000, large=10**8, sizes=((1, 12), (10, 60), (100, 900)),
    )  # fmt: skip


def coprime(rng: random.Random) -> Draft:
    word, add = rng.choice([("How many", "1"), ("What is the sum of the", "x")])
    fast = {"1": "t", "x": "n*t//2 if n > 1 else 1"}[add]
    return Draft(
        inputs="an integer n",
        task=f"{word} integers x from 1 to n have no common divisor with n but 1?",
        layouts=number_layouts("n"),
        simple=Way("O(n log n)", f"ans = 0\nfor x in range(1, n+1):\n    if gcd(x, n) {pick('== 1', '> 1')}:\n        ans += {among(add, ['1', 'x'])}", "from math import *"),
        fast=Way("O(sqrt n)", f"t = m = n\nd = 2\nwhile d*d {pick('<=', '<')} m:\n    if m%d == 0:\n        t {pick('-= t//d', '//= d')}\n        while m%d == 0:\n            m //= d\n    d += 1\nif m > 1:\n    t {pick('-= t//m', '//= m')}\nans = {pick(fast, 't', 'n-t')}"),
        values=lambda r, n: {"n": n}, little=2000, large=10**8, sizes=((1, 12), (8, 60), (100, 900)), hard=True,
    )  # fmt: skip


def factorial_power(rng: random.Random) -> Draft:
    p = rng.choice(["2", "3", "5", "7"])
    return Draft(
        inputs="an integer n",
        task=rng.choice([f"How often does {p} divide n factorial?", f"What is the largest e such that {p} to the power e divides n factorial?"]),
        layouts=number_layouts("n"),
        simple=Way("O(n)", f"ans = 0\nfor x in range(1, {pick('n+1', 'n')}):\n    {pick('while', 'if')} x%{among(p, list('2357'))} == 0:\n        x //= {p}\n        ans += 1"),
        fast=Way("O(log n)", f"ans = 0\nwhile n:\n    n //= {among(p, list('2357'))}\n    ans += {pick('n', '1')}"),
        values=lambda r, n: {"n": n}, little=2000, large=10**9, sizes=((2, 12), (8, 60), (100, 900)),
    )  # fmt: skip


def common_divisor(rng: random.Random) -> Draft:
    word, end = rng.choice([("largest common divisor", "g"), ("smallest common multiple", "a*b//g")])
    return Draft(
        inputs="integers a, b",
        task=rng.choice([f"Find the {word} of a and b.", f"What is the {word} of a and b?"]),
        layouts=number_layouts("a", "b"),
        simple=Way("O(n)", f"g = {pick('min', 'max')}(a, b)\nwhile a%g {pick('or', 'and')} b%g:\n    g -= 1\nans = {among(end, ['g', 'a*b//g'])}"),
        fast=Way("O(log n)", f"g, h = a, b\nwhile h:\n    g, h = h, {pick('g%h', 'h%g', 'g//h')}\nans = {among(end, ['g', 'a*b//g'])}"),
        values=lambda r, n: {"a": (g := r.randint(1, 4)) * r.randint(max(1, n // 5), max(1, n // 4)) if n < 10**6 else n - r.randint(0, 50), "b": g * r.randint(max(1, n // 6), max(1, n // 4)) if n < 10**6 else n - r.randint(51, 99)},
        little=2000, large=10**9, sizes=((4, 20), (20, 90), (200, 900)), bounded="max(a, b)",
    )  # fmt: skip


def sum_of_multiples(rng: random.Random) -> Draft:
    """Held out: `multiples` and `series` in one."""
    return Draft(
        inputs="integers n, a",
        task="Add up all positive integers at most n that are divisible by a.",
        layouts=number_layouts("n", "a"),
        simple=Way("O(n)", f"ans = 0\nfor x in range(1, {pick('n+1', 'n')}):\n    if x%a == 0:\n        ans += {pick('x', '1')}"),
        fast=Way("O(1)", f"m = {pick('n//a', 'n')}\nans = {pick('a*m*(m+1)//2', 'm*(m+1)//2')}"),
        values=lambda r, n: {"n": n, "a": r.randint(2, 9)},
        little=2000, large=10**9, sizes=((5, 30), (20, 99), (300, 900)),
    )  # fmt: skip


TRAINED = (primes, multiples, power, series, recurrence, smallest_root, divisors, coprime, factorial_power, common_divisor)  # fmt: skip
HELD_OUT = (sum_of_multiples,)
