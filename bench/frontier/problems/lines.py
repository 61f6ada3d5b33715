"""Things that come one a line: intervals, and the edges of a graph."""

from __future__ import annotations

import random
from typing import Any

from bench.frontier.problems.draft import Draft, Layout, Values, Way, numbers, pick

SIZES = ((2, 3), (3, 6), (15, 25))


def _render(v: Values) -> str:
    return "".join(f"{numbers(line)}\n" for line in (v["head"], *v["lines"]))


INTERVALS = [
    Layout("The first line has n, then one interval l r per line.", "n = int(input())\na = [tuple(map(int, input().split())) for _ in range(n)]", _render),
]  # fmt: skip
EDGES = [
    Layout("The first line has n and m, then one edge u v per line; nodes count from 0.", "n, m = map(int, input().split())\ne = [tuple(map(int, input().split())) for _ in range(m)]", _render),
]  # fmt: skip


def _intervals(rng: random.Random, n: int) -> dict[str, Any]:
    top = 12 if n < 10 else 3 * n
    length = 6 if n < 10 else max(9, n // 2)
    lines = [[left := rng.randint(0, top), left + rng.randint(1, length)] for _ in range(n)]
    return {"head": [n], "lines": lines}


def crowd(rng: random.Random) -> Draft:
    closed = rng.random() < 0.5
    ends = "from l to r, both included" if closed else "from l to just before r"
    op = "<=" if closed else "<"
    return Draft(
        inputs="n intervals",
        task=f"Each guest is in the room {ends}. What is the largest number of guests at one time?",
        layouts=INTERVALS,
        simple=Way("O(n^2)", f"ans = 0\nfor x, y in a:\n    ans = max(ans, sum(1 for l, r in a if l {pick('<=', '<')} x {pick(op, {'<': '<=', '<=': '<'}[op])} r))"),
        fast=Way("O(n log n)", f"b = []\nfor l, r in a:\n    b.append((l, 1))\n    b.append(({pick('r+1' if closed else 'r', 'r' if closed else 'r+1')}, {pick('-1', '1')}))\nans = s = 0\nfor x, d in sorted(b):\n    s += d\n    ans = {pick('max', 'min')}(ans, s)"),
        values=_intervals, little=60, large=4000, sizes=SIZES, hard=True,
    )  # fmt: skip


def disjoint(rng: random.Random) -> Draft:
    touch = rng.random() < 0.5
    op = "<=" if touch else "<"
    flip = {"<": "<=", "<=": "<"}[op]
    return Draft(
        inputs="n intervals",
        task=f"Choose as many as possible such that each ends {'no later than' if touch else 'before'} the next starts. How many can be chosen?",
        layouts=INTERVALS,
        simple=Way("O(n^2)", f"a.sort()\nd = [1]*n\nfor i in range(n):\n    for j in range(i):\n        if a[j][1] {pick(op, flip)} a[i][0]:\n            d[i] = max(d[i], d[j]+1)\nans = {pick('max(d)', 'd[-1]')}"),
        fast=Way("O(n log n)", f"a.sort({pick('key=lambda t: t[1]', '')})\nans = 0\ne = {pick('-1', '0')}\nfor l, r in a:\n    if e {pick(op, flip)} l:\n        ans += 1\n        e = {pick('r', 'l', 'max(e, r)')}"),
        values=_intervals, little=60, large=4000, sizes=SIZES, hard=True,
    )  # fmt: skip


def covered(rng: random.Random) -> Draft:
    return Draft(
        inputs="n intervals",
        task=rng.choice(["Each covers all points from l to r. What is the total length that is covered?", "Find the length of their union."]),
        layouts=INTERVALS,
        simple=Way("O(n^2)", f"s = set()\nfor l, r in a:\n    s.update(range(l, {pick('r', 'r+1')}))\nans = len(s)"),
        fast=Way("O(n log n)", f"{pick('a.sort()', 'a.sort(key=lambda t: t[1])')}\nans = 0\ne = {pick('-1', '0')}\nfor l, r in a:\n    if r > e:\n        ans += {pick('r-max(l, e)', 'r-l', 'r-e')}\n        e = r"),
        values=lambda r, n: {"head": [n], "lines": [[x := r.randint(0, 10 * n if n < 300 else 10**6), x + r.randint(1, 9 if n < 300 else 3 * n)] for _ in range(n)]},
        little=60, large=3500, sizes=SIZES, hard=True,
    )  # fmt: skip


def _graph(rng: random.Random, n: int) -> dict[str, Any]:
    if n < 300:
        edges = [rng.sample(range(n), 2) for _ in range(rng.randint(n // 2, n))]
    else:  # many small parts, so that something is left to join at every edge
        edges = [[i - 1, i] for i in rng.sample(range(1, n), n - 1) if i % 50]
    return {"head": [n, len(edges)], "lines": edges}


def parts(rng: random.Random) -> Draft:
    return Draft(
        inputs="an undirected graph with n nodes and m edges",
        task=rng.choice(["How many connected parts does it have?", "Count its connected components."]),
        layouts=EDGES,
        simple=Way("O(nm)", f"c = list(range(n))\nfor u, v in e:\n    x, y = c[u], c[v]\n    for i in range(n):\n        if c[i] == {pick('x', 'u')}:\n            c[i] = {pick('y', 'v')}\nans = len(set(c))"),
        fast=Way("O(n)", f"p = list(range(n))\ndef f(x):\n    while p[x] != x:\n        p[x] = p[p[x]]\n        x = {pick('p[x]', 'p[p[x]]')}\n    return x\nans = {pick('n', '0', 'n-m')}\nfor u, v in e:\n    u = f(u)\n    v = f(v)\n    if u {pick('!=', '==')} v:\n        p[{pick('u', 'v')}] = {pick('v', 'u')}\n        ans -= 1"),
        values=_graph, little=60, large=3500, sizes=((3, 4), (4, 7), (20, 30)), hard=True,
    )  # fmt: skip


def busy_nodes(rng: random.Random) -> Draft:
    word, op = rng.choice(
        [("at least two", ">= 2"), ("at most one", "<= 1"), ("exactly one", "== 1"), ("no", "== 0")]
    )
    ops = [">= 2", "<= 1", "== 1", "== 0"]
    return Draft(
        inputs="an undirected graph with n nodes and m edges",
        task=rng.choice([f"How many nodes have {word} edge(s)?", f"Count the nodes with {word} edge(s)."]),
        layouts=EDGES,
        simple=Way("O(nm)", f"ans = 0\nfor x in range(n):\n    if sum(1 for u, v in e if u == x {pick('or', 'and')} v == x) {pick(op, *(o for o in ops if o != op))}:\n        ans += 1"),
        fast=Way("O(n)", f"d = [0]*n\nfor u, v in e:\n    d[u] += 1\n    d[{pick('v', 'u')}] += 1\nans = sum(1 for x in d if x {pick(op, *(o for o in ops if o != op))})"),
        values=_graph, little=60, large=5000, sizes=((3, 4), (4, 7), (20, 30)),
    )  # fmt: skip


def far_steps(rng: random.Random) -> Draft:
    return Draft(
        inputs="an undirected graph with n nodes and m edges",
        task=rng.choice(["How many nodes can be reached from node 0, itself counted?", "Count the nodes that are connected with node 0, itself counted."]),
        layouts=EDGES,
        simple=Way("O(nm)", f"s = {{0}}\nfor _ in range({pick('n', '1', '2')}):\n    for u, v in e:\n        if u in s {pick('or', 'and')} v in s:\n            s.add(u)\n            s.add(v)\nans = len(s)"),
        fast=Way("O(n)", f"g = [[] for _ in range(n)]\nfor u, v in e:\n    g[u].append(v)\n    {pick('g[v].append(u)', 'g[u].append(u)')}\ns = {{0}}\nq = [0]\nwhile q:\n    u = q.pop()\n    for v in g[u]:\n        if v {pick('not in', 'in')} s:\n            s.add(v)\n            q.append(v)\nans = {pick('len(s)', 'len(s)-1')}"),
        values=_graph, little=60, large=3000, sizes=((3, 4), (4, 7), (20, 30)), hard=True,
    )  # fmt: skip


TRAINED = (crowd, disjoint, covered, parts, busy_nodes, far_steps)
