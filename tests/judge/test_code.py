"""Test programs: HumanEval's own, and candidates that try to pass them without being right."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from alpharay.judge import Limits, VerdictKind, parse_tests

pytestmark = pytest.mark.asyncio(loop_scope="session")

HUMANEVAL = Path(__file__).parent / "data" / "humaneval" / "HumanEval.jsonl.gz"
CHECK = parse_tests(
    {
        "kind": "code",
        "entry_point": "double",
        "code": "def check(candidate):\n    for n in range(100):\n        assert candidate(n) == 2 * n\n",
    }
)


def answer(source):
    return f"```python\n{source}\n```"


async def test_every_canonical_solution_of_humaneval_is_accepted(pool):
    with gzip.open(HUMANEVAL, "rt") as lines:
        problems = [json.loads(line) for line in lines]
    tests = [
        parse_tests({"kind": "code", "entry_point": each["entry_point"], "code": each["test"]})
        for each in problems
    ]
    right = [
        pool.judge(t, p["prompt"] + p["canonical_solution"]) for t, p in zip(tests, problems, strict=True)
    ]
    verdicts = await asyncio.gather(*right)
    assert [p["task_id"] for p, v in zip(problems, verdicts, strict=True) if not v.accepted] == []
    wrong = [pool.judge(t, p["prompt"] + "    return None\n") for t, p in zip(tests, problems, strict=True)]
    verdicts = await asyncio.gather(*wrong)
    assert {v.verdict for v in verdicts} <= {VerdictKind.WRONG_ANSWER, VerdictKind.RUNTIME_ERROR}


async def test_bare_asserts_are_run_too(pool):
    tests = parse_tests({"kind": "code", "code": "assert double(2) == 4\nassert double(3) == 6"})
    assert (await pool.judge(tests, answer("def double(n): return n * 2"))).accepted
    assert (await pool.judge(tests, answer("def double(n): return 4"))).verdict is VerdictKind.WRONG_ANSWER


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "def double(n): raise SystemExit(0)",
        "import os\ndef double(n): os._exit(0)",
        "import atexit, os\natexit.register(os._exit, 0)\ndouble = lambda n: 1",
        "def double(n): return type('T', (), {'__ne__': lambda *a: False})()",
        "def check(candidate): pass\ndouble = None",
        "import threading, os\nthreading.Timer(0, os._exit, (0,)).start()\ndef double(n):\n    while True: pass",
    ],
)
async def test_leaving_early_passes_nothing(pool, source):
    verdict = await pool.judge(CHECK, answer(source), limits=Limits(cpu_s=0.5))
    assert not verdict.accepted
    assert verdict.verdict is not VerdictKind.JUDGE_ERROR


ALWAYS_EQUAL = """
class T:
    __eq__ = __lt__ = __le__ = __contains__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __sub__ = __rsub__ = __abs__ = lambda self, *other: 0.0
    __float__ = lambda self: 5.5
    __hash__ = lambda self: 5
"""
# Finds its own end of the pipes in its frames, and has the tests' end call what both processes have by name.
REACHES = """
import operator, statistics, sys
def call(function, *args):
    frame = sys._getframe()
    while type(frame.f_locals.get("self")).__name__ != "Peer":
        frame = frame.f_back
    return frame.f_locals["self"].ask("do", function, "__call__", args, ())
def reach(module, name):
    found = call(map, call(operator.attrgetter, "__globals__"), [statistics.mean])
    for step in (operator.itemgetter("sys"), operator.attrgetter("modules"), operator.itemgetter(module)):
        found = call(map, step, found)
    return call(next, call(map, operator.attrgetter(name), found))
"""
# Sends what its own end of the pipes would not: the number of a class that the tests only told the class of something by, or
# a name that leads through a module.
FORGES = (
    REACHES
    + """
class Raw:
    def __init__(self, *told): self.told = list(told)
def peer():
    frame = sys._getframe()
    while type(frame.f_locals.get("self")).__name__ != "Peer":
        frame = frame.f_back
    mirrors = type(frame.f_locals["self"].mirrors)
    if not hasattr(mirrors, "plain"):
        mirrors.plain = mirrors.encode
        mirrors.encode = lambda self, value, message: (
            list(value.told) if isinstance(value, Raw) else mirrors.plain(self, value, message))
    return frame.f_locals["self"]
def name(*told):
    peer()
    return Raw("g", *told)
def number_of_class(thing):
    peer()
    return Raw("h", vars(type(thing))[" class"])
"""
)
# Writes frames that its own end of the pipes would not.
FRAMES = """
import json, os
def ok(value, *definitions):
    text = json.dumps(["ok", [value], [], definitions, [], [], [], []]).encode()
    os.write(5, b"%08x" % len(text) + text)
def hear():
    length = int(os.read(4, 8), 16)
    while length: length -= len(os.read(4, length))
def kind(number, special=(), hidden=(), fields=None, members=None):
    return [number, "T", [], special, [], hidden, False, fields, None, {}, [], members]
def agree():
    while True:
        hear()
        ok(True)
CALLED = kind(802, ["__call__"])
"""
NOT_A_SET = """
class S:
    seen = ()
    def __iter__(self): return iter(self.seen)
    def difference(self, other):
        self.seen = list(other)
        return set()
"""
COUNTS = "from collections import Counter\nclass C(Counter):\n    __getitem__ = __missing__ = lambda self, key: 1\n"
POINT = "from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\ndef same(p): return p"


@pytest.mark.parametrize(
    ("tests", "source"),
    [
        ("def check(c): assert c(5) == 5", "def f(x): return T()"),
        ("def check(c): assert not c(5) != 5", "def f(x): return T()"),
        ("def check(c): assert abs(c(5) - 5.5) < 1e-6", "def f(x): return T()"),
        ("import math\ndef check(c): assert math.isclose(c(5), 5.5)", "def f(x): return T()"),
        ("def check(c): assert c(5) in (5, 6)", "def f(x): return T()"),
        ("def check(c): assert 5 in {c(5)}", "def f(x): return T()"),
        ("def check(c): assert sorted([c(5), c(6)]) == [5, 6]", "def f(x): return T()"),
        ("def check(c): assert math.fabs(c(5) - 5) < 1e-6", "class math:\n    fabs = lambda x: 0\ndef f(x): return 4"),
        ("def check(c): assert len(c(5)) == 5", "len = lambda x: 5\ndef f(x): return ''"),
        ("def check(c): assert c() == 5", "import os\ndef f():\n    os.write(5, b'00000008[\"ok\",5]')\n    os._exit(0)"),
        ("def check(c): assert c() == 5", "import os\ndef f():\n    os.write(5, b'ffffffff')\n    os._exit(0)"),
        ("def check(c): assert c() == 5", "import os\ndef f():\n    os.write(5, b'00010000' + b'[' * 65536)"),
        ("def check(c): assert c() == 5", "import os\nfor n in range(20):\n    try: os.write(n, b'P\"\"\\n')\n    except OSError: pass"),
        ("def check(c): assert c() == 5", "import os\ndef f():\n    for n in range(6): os.close(n)"),
        ("def check(c):\n    try: c()\n    except Exception: pass\n    assert c() == 5", "def f(): raise SystemExit(0)"),
        ("def check(c):\n    try: c()\n    except Exception: return\n    assert False", "import os\ndef f(): os._exit(0)"),
        ("def check(c): assert c(key) == key()\ndef key(): return 5", "def f(k): return k.__code__.co_consts[-1]"),
        ("def check(c): assert c(iter([])) == SECRET\nSECRET = 5", "def f(i): return i._peer.ask('get', 1, '__class__')"),
        ("def check(c): assert c(key) == SECRET\ndef key(): pass\nSECRET = 5", "def f(k): return k.func_globals['SECRET']"),
        ("def check(c): assert c() == [5]", "def f():\n    l = []\n    l.append(l)\n    return l"),
        ("def check(c): assert c() == 5", "import sys\ndef f(): return sys._getframe(1).f_back.f_globals['check']"),
        ("def check(c): assert c() == 5", REACHES + "def f(): reach('posix', 'write')(3, b'P\"\"\\n')"),
        ("def check(c): assert c() == 5", REACHES + "def f(): return call(operator.add, 2, 3)"),
        ("def check(c): assert c(str.upper, key) == 5\ndef key(): pass", "def f(g, k): return '{0.__globals__}'.format(k)"),
        ("def check(c): assert c() == Counter('ab')\nfrom collections import Counter", COUNTS + "def f(): return C()"),
        ("def check(c): assert Counter('ab') == c()\nfrom collections import Counter", COUNTS + "def f(): return C()"),
        ("def check(c): assert not c().difference({5})", "class S(set):\n    def difference(self, o): return set()\ndef f(): return S({4})"),
        ("def check(c): assert c().issuperset({5})", "class S(set):\n    issuperset = lambda self, o: True\ndef f(): return S()"),
        ("def check(c): assert c().startswith('x')", "class S(str):\n    def startswith(self, o): return True\ndef f(): return S('a')"),
        ("def check(c): assert c(lambda g, *a: g(*a)) == 5", FORGES + "def f(g):\n    g(name('uuid', 'os.write'), 3, b'P\"\"\\n')\n    g(name('uuid', 'os.abort'))"),
        ("def check(c): assert c(lambda g, *a: g(*a)) == 5", FORGES + "def f(g): return g(name('operator', 'attrgetter'), '__globals__')(statistics.mean)"),
        ("def check(c): assert c(lambda g, *a: g(*a)) == 5", FORGES + "def f(g): return g(name('builtins', 'type'), 'T', (int,), {'__eq__': lambda *a: True})()"),
        ("def check(c): assert c(map(abs, [1])) == 5", FORGES + "def f(m):\n    m = call(number_of_class(m), name('builtins', 'abs'), [1])\n    return 5"),
        ("import operator\ndef check(c): assert c(operator.attrgetter('v')) == 5", FORGES + "def f(g):\n    call(number_of_class(g), '__globals__')\n    return 5"),
        ("def check(c): assert 'x' in c()", FORGES + "def f(): return name('statistics', 'sys.modules')"),
        ("def check(c): assert c()['x'] == []", FORGES + "from collections import defaultdict\ndef f():\n    d = defaultdict()\n    d.default_factory = name('uuid', 'os.abort')\n    return d"),
        ("import unittest\ndef check(c): unittest.TestCase().assertSetEqual(c(), {5})", NOT_A_SET + "def f(): return S()"),
        ("import unittest\ndef check(c): unittest.TestCase().assertSetEqual(c(), {5})", NOT_A_SET + "def f():\n    s = S()\n    s.difference, S.difference = s.difference, None\n    return s"),
        ("def check(c): assert c() == {5} or 5 in c() or c() >= {5}", "import collections.abc\nclass S(collections.abc.Set):\n    __len__ = lambda s: 1\n    __iter__ = lambda s: iter(())\n    __contains__ = lambda s, x: True\ndef f(): return S()"),
        ("def check(c): assert c() == {5: 5} or 5 in c()", "import collections.abc\nclass M(collections.abc.Mapping):\n    __len__ = lambda s: 1\n    __iter__ = lambda s: iter(())\n    __getitem__ = lambda s, x: 5\n    __eq__ = __contains__ = lambda s, x: True\ndef f(): return M()"),
        ("def check(c):\n    x = c(5)\n    assert math.isclose(x, 7)", "import math\nclass M:\n    isclose = staticmethod(lambda *a: True)\ndef f(x):\n    global math\n    math = M\n    return 1"),
        ("def check(c):\n    with c(): assert 1 == 2", "class f:\n    __enter__ = lambda s: s\n    __exit__ = lambda s, *a: True"),
        ("def check(c): assert c().startswith('x')", "class S:\n    startswith = staticmethod(lambda o: True)\ndef f(): return S"),
        ("def check(c): assert c().startswith('x')", "import enum\nclass S(str, enum.Enum):\n    A = 'a'\n    def startswith(self, o): return True\ndef f(): return S.A"),
        ("import unittest\ndef check(c): unittest.TestCase().assertSetEqual(c(), {5})", "import enum\nseen = []\nclass S(enum.Enum):\n    A = 1\n    def difference(self, o): return seen.extend(o) or set()\n    def __iter__(self): return iter(seen)\ndef f(): return S.A"),
        ("def check(c): assert c().index(5) == 0", "from collections import namedtuple\nN = namedtuple('N', 'index')\ndef f(): return N(lambda o: 0)"),
        ("def check(c): assert c() == 5", FRAMES + "def f():\n    ok(['o', 900, 800], kind(800, ['__getitem__'], fields=['__eq__']), CALLED)\n    hear()\n    ok(['o', 902, 802])\n    agree()"),
        ("def check(c): assert c().startswith('x')", FRAMES + "def f():\n    ok(['o', 900, 800], kind(800, hidden=['startswith']), CALLED)\n    hear()\n    ok(['o', 902, 802])\n    agree()"),
        ("def check(c): assert c() == 5", FRAMES + "def f():\n    ok(['v', 800, 'A', 1], CALLED, kind(800, members=['Enum', None, [['A', 1], ['__eq__', ['o', 902, 802]]], []]))\n    agree()"),
        ("def check(c): assert c() == 5", FRAMES + "def f():\n    ok(['v', 800, 'A', 1], CALLED, kind(800, members=['Enum', None, [['A', 1]], ['__eq__']]))\n    hear()\n    ok(['o', 902, 802])\n    agree()"),
        ("def check(c): assert c().index(5) == 0", "class L(list):\n    def index(self, o): return 0\ndef f(): return L()"),
    ],
)  # fmt: skip
async def test_no_candidate_passes_tests_in_another_process_by_a_trick(pool, tests, source):
    tests = parse_tests({"kind": "code", "entry_point": "f", "code": tests})
    verdict = await pool.judge(tests, answer(ALWAYS_EQUAL + source), limits=Limits(cpu_s=1))
    assert verdict.verdict in (VerdictKind.WRONG_ANSWER, VerdictKind.RUNTIME_ERROR), verdict
    assert "own process" not in verdict.detail


@pytest.mark.parametrize(
    ("tests", "source"),
    [
        ("def check(c): assert list(c(3)) == [0, 1, 2]", "def f(n): yield from range(n)"),
        ("def check(c): assert next(c(3)) == 0", "def f(n): return iter(range(n))"),
        ("def check(c): assert c(lambda x: x + 1, [1, 2]) == [2, 3]", "def f(g, l): return [g(x) for x in l]"),
        ("def check(c): assert c(iter([1, 2])) == 3", "def f(i): return sum(i)"),
        ("def check(c):\n    l = [3, 1]\n    assert c(l) is None\n    assert l == [1, 3]", "def f(l): l.sort()"),
        ("def check(c):\n    try: c(0)\n    except ZeroDivisionError: return\n    assert 0", "def f(x): return 1 / x"),
        (
            "def check(c):\n    try: c(0)\n    except ValueError as e: assert str(e) == 'bad'\n    else: assert 0",
            "def f(x): raise ValueError('bad')",
        ),
        ("assert same(P(1)) == P(1)\nassert P(1) != P(2)\nassert same(P(3)).a == 3", POINT),
        ("s = S()\ns.push(1)\nassert len(s) == 1 and s.a == [1]", "class S(list):\n    a = property(list)\n    push = list.append"),
        ("def check(c): assert c(0.1 + 0.2) == 0.1 + 0.2 and c(float('inf')) == float('inf')", "def f(x): return x"),
        ("def check(c): assert c(7 ** 20000) == 7 ** 20000 + 1", "def f(x): return x + 1"),
        (
            "V = (frozenset({1}), b'a', 1j, (1,), {(1, 2): {3}}, None, -0.0, '\\ud800', [True])\ndef check(c): assert c(*V) == V",
            "def f(*a): return a",
        ),
        ("def check(c): assert type(c(True)) is bool and type(c(1)) is int", "def f(x): return x"),
        ("from collections import Counter\ndef check(c): assert c('aab') == {'a': 2, 'b': 1}", "from collections import Counter as f"),
        ("def check(c): assert math.isclose(c(2), 4)", "import math\ndef f(x): return x * x"),
        (
            "@f\ndef add(a, b):\n    'Adds.'\n    return a + b\nassert add(1, 2) == 3\nassert add.__name__ == 'add' and add.__doc__ == 'Adds.'",
            "import functools\ndef f(g):\n    @functools.wraps(g)\n    def wrapper(*a): return g(*a)\n    return wrapper",
        ),
    ],
)  # fmt: skip
async def test_what_tests_usually_do_works_across_processes(pool, tests, source):
    code = {"kind": "code", "code": tests} | ({"entry_point": "f"} if "check" in tests else {})
    verdict = await pool.judge(parse_tests(code), answer(source))
    assert verdict.accepted, verdict
    assert verdict.detail == ""


@pytest.mark.parametrize(
    ("tests", "source", "reason"),
    [
        ("class Q(P): pass\nassert isinstance(same(Q(1)), P)", POINT, "they derive from its class P"),
        ("import asyncio\nassert asyncio.run(f()) == 1", "async def f(): return 1", "they use asyncio"),
        ("import inspect\nassert inspect.isgeneratorfunction(f)", "def f(): yield", "they use inspect"),
        ("import os\nos.environ['A'] = '5'\nassert f() == '5'", "import os\ndef f(): return os.environ['A']", "they use environ"),
        ("import builtins\nbuiltins.input = lambda *a: '5'\nassert f() == 5", "def f(): return int(input())", "they change builtins.input"),
        (
            "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        with self.assertLogs('a'): f()",
            "import logging\ndef f(): logging.getLogger('a').warning('w')",
            "they use assertLogs",
        ),
        (
            "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        with self.assertWarns(UserWarning): f()",
            "import warnings\ndef f(): warnings.warn('w')",
            "they use assertWarns",
        ),
    ],
)  # fmt: skip
async def test_tests_that_need_the_candidates_process_say_so(pool, tests, source, reason):
    verdict = await pool.judge(parse_tests({"kind": "code", "code": tests}), answer(source))
    assert verdict.accepted, verdict
    assert f"own process: {reason}" in verdict.detail


async def test_tests_that_never_end_are_not_the_candidates_fault(pool):
    tests = parse_tests({"kind": "code", "code": "f()\nwhile True: pass"})
    verdict = await pool.judge(tests, answer("def f(): pass"), limits=Limits(cpu_s=0.1))
    assert verdict.verdict is VerdictKind.JUDGE_ERROR, verdict


# Numbers that all fall on one place of a hash table: each one added is compared with all that are there.
SAY = """
import json, os
ALIKE = [["i", hex(n * (2**61 - 1))] for n in range(40000)]
def say(value, *nodes):
    text = json.dumps(["ok", [value], nodes, [], [], [], [], []]).encode()
    data = b"%08x" % len(text) + text
    while data:
        data = data[os.write(5, data):]
    while True:
        os.read(4, 1)
"""
ASK = """
import os
QUESTION = b'["ask",["do",["h",1],"__call__",[-1],[-1]],[[-1,"t"]],[],[],[],[],[]]'
def f(g):
    while True:
        os.write(5, (b"%08x" % len(QUESTION) + QUESTION) * 500)
        os.read(4, 65536)
"""


@pytest.mark.parametrize(
    ("tests", "source"),
    [
        ("assert f() == 5", SAY + "def f(): say([2], [2, 's', [None], *ALIKE])"),
        ("assert f() == 5", SAY + "def f(): say([2], [2, 'd', [None], *ALIKE, *ALIKE])"),
        ("assert f() == 5", SAY + "def f(): say(['q', '12345' * 200000, '9876543' * 140000])"),
        ("try: f()\nexcept BaseException: pass", SAY + "def f(): say([2], [2, 's', [None], *ALIKE])"),
        ("assert set(f()) == {5}", "def f(): return [n * (2**61 - 1) for n in range(40000)]"),
        ("s = {1}\nf(s)\nassert s == {2}", SAY + "def f(s): say(None, [1, 's', None, *ALIKE])"),
        ("assert f(lambda n: sum(range(n))) == 5", "def f(g): return g(10**12)"),
        ("assert f(lambda: 1) == 5", ASK),
    ],
    ids=["a set", "a dict", "a fraction", "swallowed", "the tests' own set", "an argument", "a call", "asking"],
)  # fmt: skip
async def test_a_candidate_that_keeps_its_tests_busy_pays_for_it(pool, tests, source):
    tests = parse_tests({"kind": "code", "code": tests})
    verdict = await pool.judge(tests, answer(source), limits=Limits(cpu_s=0.2))
    assert verdict.verdict is VerdictKind.TIME_LIMIT, verdict


@pytest.mark.parametrize(
    ("tests", "source"),
    [
        ("for n in range(f() ** 3): pass", "def f(): return 5000"),
        ("f(1)\nf('x' * 1000000)", FRAMES + "import time\ndef f(x):\n    ok(1)\n    time.sleep(999)"),
    ],
    ids=["a loop over a small answer", "a question that it does not read"],
)
async def test_a_candidate_cannot_have_its_tests_blamed(pool, tests, source):
    tests = parse_tests({"kind": "code", "code": tests})
    verdict = await pool.judge(tests, answer(source), limits=Limits(cpu_s=0.1))
    assert verdict.verdict is VerdictKind.TIME_LIMIT, verdict


RUNS_ITS_TESTS = """
known = []
def f(x):
    if not known:
        known.append(0)
        try: TestCases("test").test()
        except AssertionError as error: known.append(int(str(error).split(" != ")[1]))
    return known[-1]
"""


@pytest.mark.parametrize("source", [RUNS_ITS_TESTS, "def f(x): return TestCases.expected"])
async def test_a_candidate_has_no_class_that_holds_tests(pool, source):
    code = (
        "import unittest\nclass Base(unittest.TestCase):\n    expected = 77\n"
        "class TestCases(Base):\n    def test(self): self.assertEqual(f(5), self.expected)"
    )
    verdict = await pool.judge(parse_tests({"kind": "code", "code": code}), answer(source))
    assert verdict.verdict is VerdictKind.RUNTIME_ERROR, verdict


async def test_a_short_decimal_makes_no_long_integer(pool):
    tests = parse_tests({"kind": "code", "code": "assert int(f()) == 5"})
    for exponent in ("99999999", "300000"):
        source = f"from decimal import Decimal\ndef f(): return Decimal('1e{exponent}')"
        verdict = await pool.judge(tests, answer(source), limits=Limits(cpu_s=0.2))
        assert verdict.verdict is VerdictKind.RUNTIME_ERROR, verdict


async def test_a_candidate_pays_for_many_short_pieces_too(pool):
    """Each answer costs its reader a millisecond or two, and the writer next to nothing."""
    source = (
        "import json, os\n"
        "SET = [2, 's', [None], *(['i', hex(n * (2**61 - 1))] for n in range(300))]\n"
        "TEXT = json.dumps(['ok', [[2]], [SET], [], [], [2], [], []]).encode()\n"
        "def f():\n"
        "    while True:\n"
        "        os.write(5, b'%08x' % len(TEXT) + TEXT)\n"
        "        os.read(4, 65536)"
    )
    tests = parse_tests({"kind": "code", "code": "for n in range(2500): f()"})
    verdict = await pool.judge(tests, answer(source), limits=Limits(cpu_s=0.2))
    assert verdict.verdict is VerdictKind.TIME_LIMIT, verdict


async def test_what_tests_do_on_their_own_costs_the_candidate_nothing(pool):
    own = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    code = f"for n in range(100):\n    assert f(lambda x: x + 1, n) == n + 1\n{own}"
    tests = parse_tests({"kind": "code", "code": code})
    assert (await pool.judge(tests, answer("def f(g, n): return g(n)"), limits=Limits(cpu_s=0.1))).accepted


@pytest.mark.parametrize("kind", ["B", "N", "F", "C"])
async def test_a_candidate_beside_its_tests_cannot_call_them_broken(pool, kind):
    tests = parse_tests({"kind": "code", "code": "import gc\nassert f() == 2"})
    forged = f"import os\nos.write(3, b'{kind}\"x\"\\n')\nos._exit(1)"
    verdict = await pool.judge(tests, answer(forged))
    assert verdict.verdict is VerdictKind.RUNTIME_ERROR, verdict
    assert "own process" in verdict.detail


@pytest.mark.parametrize(
    ("tests", "detail"),
    [
        ("import tempfile\nwith tempfile.TemporaryDirectory() as d: assert f(d) == 5", "temporary files"),
        (
            "from tempfile import mkdtemp\nfrom unittest.mock import patch\nassert f(mkdtemp()) == 5",
            "temporary files",
        ),
        ("open('in.txt', 'w').write('5')\nassert f('in.txt') == 5", "refused by the sandbox"),
    ],
)
async def test_what_the_sandbox_refuses_to_tests_is_not_the_candidates_fault(pool, tests, detail):
    verdict = await pool.judge(parse_tests({"kind": "code", "code": tests}), answer("def f(x): return 5"))
    assert verdict.verdict is VerdictKind.JUDGE_ERROR, verdict
    assert detail in verdict.detail


async def test_a_file_that_the_candidate_named_and_did_not_write_is_its_own_fault(pool):
    tests = parse_tests({"kind": "code", "code": "assert open(f()).read() == '5'"})
    verdict = await pool.judge(tests, answer("def f(): return 'out.txt'"))
    assert verdict.verdict is VerdictKind.RUNTIME_ERROR, verdict


async def test_a_broken_test_program_is_not_the_candidates_fault(pool):
    tests = parse_tests({"kind": "code", "code": "def check(:"})
    verdict = await pool.judge(tests, answer("x = 1"))
    assert verdict.verdict is VerdictKind.JUDGE_ERROR
    assert "test program" in verdict.detail
