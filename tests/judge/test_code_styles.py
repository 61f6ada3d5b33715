"""Honest test programs as benchmarks write them, each also run by plain Python, and candidates that try to pass such."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from alpharay.judge import JudgePool, Limits, VerdictKind, parse_tests

PROGRAMS = Path(__file__).parent / "data" / "code_tests.txt"
LIMITS = Limits(cpu_s=2)
# What needs the candidate's own process, by its text.
TOGETHER = {"task_func_patched": "they use mock", "task_func_async": "they use asyncio"}
RUNS_ITSELF = """
import unittest as _unittest
_cases = [v for v in list(globals().values()) if isinstance(v, type) and issubclass(v, _unittest.TestCase)]
for _case in _cases:
    _result = _unittest.TestLoader().loadTestsFromTestCase(_case).run(_unittest.TestResult())
    assert _result.wasSuccessful(), (_result.errors, _result.failures)
for _name, _value in list(globals().items()):
    if _name.startswith("test_"):
        _value()
"""


def programs():
    """(style, name, program, tests)"""
    for block in PROGRAMS.read_text().split("#### ")[1:]:
        head, rest = block.split("\n", maxsplit=1)
        source, tests = rest.split("\n----\n")
        yield *head.split(), source, tests


def parsed(name, tests):
    entry = {"entry_point": name} if "def check(" in tests else {}
    return parse_tests({"kind": "code", "code": tests, **entry})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def worker_pool():
    """One layer is enough here: what is tested is the same in both."""
    async with JudgePool(workers=2, sandbox="landlock") as pool:
        yield pool


@pytest.mark.asyncio(loop_scope="session")
async def test_honest_programs_of_three_styles_are_accepted(worker_pool):
    everything = list(programs())
    assert len(everything) >= 45
    judged = [
        worker_pool.judge(parsed(name, tests), f"```python\n{source}\n```", limits=LIMITS)
        for _, name, source, tests in everything
    ]
    verdicts = await asyncio.gather(*judged)
    named = [name for _, name, _, _ in everything]
    assert {n: (v.verdict, v.detail) for n, v in zip(named, verdicts, strict=True) if not v.accepted} == {}
    details = {n: v.detail for n, v in zip(named, verdicts, strict=True) if v.detail}
    assert details.keys() == TOGETHER.keys()
    assert all(f"own process: {TOGETHER[name]}" in detail for name, detail in details.items())


def test_plain_python_passes_the_honest_programs_too(tmp_path):
    """All in one interpreter, each in a namespace of its own, as one text: what a benchmark's own harness does."""
    texts = []
    for _, name, source, tests in programs():
        end = f"check({name})" if "def check(" in tests else RUNS_ITSELF
        texts.append((name, f"{source}\n{tests}\n{end}"))
    script = tmp_path / "plain.py"
    script.write_text(
        f"import sys, types\nfor name, text in {texts!r}:\n"
        "    sys.modules['honest'] = module = types.ModuleType('honest')\n"
        "    try: exec(compile(text, name, 'exec'), module.__dict__)\n"
        "    except BaseException as error: print(name, repr(error))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stdout.splitlines() if "Error" in line]) == (0, []), (
        done.stderr
    )


LYING = """
class T:
    seen = []
    def __init__(self, *a): pass
    def __eq__(self, other): T.seen.append(other); return True
    __contains__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__
    __ne__ = lambda self, other: T.seen.append(other)
    __hash__ = lambda self: 5
    __sub__ = __rsub__ = __add__ = __radd__ = lambda self, other: T.seen.append(other) or 0
"""
SEEN = "def f(x): return T() if not T.seen else T.seen[-1]"
CHEATS = {
    "zip": ("for a, b in zip(map(f, [1, 2]), [2, 4]): assert a == b", "def f(x): raise StopIteration"),
    "all": ("assert all(map(lambda x: f(x) == 2 * x, [1, 2]))", "def f(x): raise StopIteration"),
    "filter": ("for x in filter(f, [1, 2]): assert x == 2", "def f(x): raise StopIteration(1)"),
    "subclass": ("for x in map(f, [1]): assert x == 2", "class E(StopIteration): pass\ndef f(x): raise E"),
    "method": ("s = S()\nfor x in map(s.f, [1]): assert x == 2", "class S:\n    def f(self, x): raise StopIteration"),
    "attribute": ("s = S()\nfor x in map(lambda _: s.x, [1]): assert x == 2", "class S:\n    @property\n    def x(self): raise StopIteration"),
    "suppress": ("import contextlib\nwith contextlib.suppress(BaseException): assert f(1) == 2", "import os\ndef f(x): os._exit(0)"),
    "bare": ("try: f('bad')\nexcept: pass\nelse: assert False", "import os\ndef f(x): os._exit(1)"),
    "finally": ("def g():\n    try: assert f(1) == 2\n    finally: return\ng()", "import os\ndef f(x): os._exit(1)"),
    "garbage": ("try: f('bad')\nexcept BaseException: pass", "import os\ndef f(x): os.write(5, b'00000002[]'); os.read(4, 9)"),
    "skip": (
        "import unittest\nclass A(unittest.TestCase):\n    def test(self): self.assertEqual(f(1), 2)",
        "import unittest\ndef f(x): raise unittest.SkipTest('no')",
    ),
    "contains": ("assert 5 in f(1)", LYING + "def f(x): return T()"),
    "contains, seen": ("try: assert 5 in f(1)\nexcept Exception: pass\nassert f(1) == 5", LYING + SEEN),
    "equal, seen": ("try: assert f(1) == 5\nexcept Exception: pass\nassert f(1) == 5", LYING + SEEN),
    "assertEqual, seen": (
        "import unittest\nt = unittest.TestCase()\ntry: t.assertEqual(f(1), 5)\nexcept AssertionError: pass\nassert f(1) == 5",
        LYING + SEEN,
    ),
    "minus, seen": ("try: assert abs(f(1) - 5) < 1\nexcept Exception: pass\nassert f(1) == 5", LYING + SEEN),
    "a class": ("assert f(1) == 5\nassert f(2) == 6", LYING + "class f(T): pass"),
    "a class as is written": ("assert Extract(1) == 5", LYING + "class Extract(T): pass"),
    "what a method gives": ("s = Stack()\ns.push(5)\nassert s.pop() == 5", LYING + "class Stack(T):\n    def push(s, x): pass\n    def pop(s): return s"),
    "text": ("assert f(1) == 'five'", "class S(str):\n    def __eq__(s, o): return True\n    def __ne__(s, o): return False\n    __hash__ = str.__hash__\ndef f(x): return S()"),
    "number": ("assert f(1) == 5 and abs(f(1) - 5) < 1", "class S(int):\n    def __eq__(s, o): return True\n    def __sub__(s, o): return 0\ndef f(x): return S()"),
    "list": ("assert f(1) == [5]", "class S(list):\n    def __eq__(s, o): return True\ndef f(x): return S()"),
    "in a list": ("assert f(1) == [5, 6]", LYING + "def f(x): return [T(), T()]"),
    "tuple": ("assert f(1) == (5,)", "class S(tuple):\n    def __eq__(s, o): return True\ndef f(x): return S()"),
    "enumeration": ("assert f(1) == 5", "from enum import Enum\nclass S(Enum):\n    A = 1\n    def __eq__(s, o): return True\ndef f(x): return S.A"),
    "a name": ("expected = 5\nassert f(1) == expected", "expected = 0\ndef f(x): return expected"),
    "their name": ("limit = 5\nassert f(1) < limit and f(2) < limit", "limit = 0\ndef f(x):\n    global limit\n    limit = 9\n    return 7"),
    "builtins": ("assert len(f(1)) == 5", "__builtins__ = {'len': lambda x: 5}\ndef f(x): return []"),
    "assertRaises": (
        "import unittest\nclass A(unittest.TestCase):\n    def test(self): self.assertEqual(f(1), 2)",
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\nclass A(unittest.TestCase): pass\ndef f(x): return 0",
    ),
    "callback": ("secret = 5\ndef g(): return secret\nassert f(g) == 6", "def f(g): return g.__globals__['secret'] + 1"),
    "generator": ("secret = 5\ndef g(): yield 1\nassert f(g()) == 6", "def f(g): return g.gi_frame.f_globals['secret'] + 1"),
    "instance": (
        "class N:\n    def m(self): return 1\nsecret = 5\nassert f(N()) == 5",
        "def f(n): return n.m.__func__.__globals__['secret']",
    ),
    "range": ("total = 0\nfor i in range(f(3)): total += i\nassert total == 10", "def f(x): return 10 ** 15"),
    "text of a number": ("for i in range(int(f(3))): pass\nassert False", "def f(x): return '9' * 15"),
}  # fmt: skip
FAILURES = {
    VerdictKind.WRONG_ANSWER, VerdictKind.RUNTIME_ERROR, VerdictKind.TIME_LIMIT, VerdictKind.SECURITY_VIOLATION,
}  # fmt: skip


@pytest.mark.parametrize("which", CHEATS)
@pytest.mark.asyncio(loop_scope="session")
async def test_no_trick_passes_such_tests(worker_pool, which):
    tests, source = CHEATS[which]
    verdict = await worker_pool.judge(
        parse_tests({"kind": "code", "code": tests}), f"```python\n{source}\n```", limits=Limits(cpu_s=0.2)
    )
    assert verdict.verdict in FAILURES, verdict
    assert "own process" not in verdict.detail


@pytest.mark.parametrize(
    "tests",
    [
        "import unittest\nclass T(unittest.TestCase):\n    pass",
        "import unittest\n@unittest.skip('later')\nclass T(unittest.TestCase):\n    def test(self): f()",
        "def check(candidate): assert candidate(1) == 2",
        "x = 1\nassert x == 1",
        "def test_with_fixture(tmp_path): assert f(1)",
        "import module_that_nobody_has\nassert f(1)",
    ],
)
@pytest.mark.asyncio(loop_scope="session")
async def test_tests_that_test_nothing_are_nobodys_success_or_failure(worker_pool, tests):
    parsed = parse_tests({"kind": "code", "code": tests})
    verdict = await worker_pool.judge(parsed, "```python\ndef f(*a): return 2\n```", limits=LIMITS)
    assert verdict.verdict is VerdictKind.JUDGE_ERROR, verdict


@pytest.mark.parametrize(
    "tests",
    [
        "import unittest\nunittest.TestCase().assertEqual(f(), 'SECRET')",
        "import unittest\nclass A(unittest.TestCase):\n    def test(self): self.assertDictEqual(f(), {'SECRET': 1})",
        "assert f() == 'SECRET', 'SECRET'",
        "int('SECRET' + str(f()))",
        "{}['SECRET', f()]",
        "import json\njson.loads('SECRET' * bool(f()))",
        "raise ValueError('SECRET', f())",
        "import unittest\nclass A(unittest.TestCase):\n    def test(self):\n        with self.subTest('SECRET'): self.assertIn('SECRET', f())",
        "def test_it(): assert {'SECRET': 2} == f()",
    ],
)
@pytest.mark.asyncio(loop_scope="session")
async def test_a_failure_does_not_quote_what_was_expected(worker_pool, tests):
    parsed = parse_tests({"kind": "code", "code": tests})
    verdict = await worker_pool.judge(parsed, "```python\ndef f(): return {'a': 1}\n```", limits=LIMITS)
    assert verdict.verdict in FAILURES
    assert "SECRET" not in verdict.detail
    assert "of the tests" in verdict.detail


@pytest.mark.parametrize(
    ("tests", "source", "kind"),
    [
        ("import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\nf()", "import time\ndef f(): time.sleep(999)", VerdictKind.TIME_LIMIT),
        ("import time\nf()\ntime.sleep(999)", "def f(): pass", VerdictKind.JUDGE_ERROR),
        ("import time\nf(lambda: time.sleep(999))", "def f(g): g()", VerdictKind.JUDGE_ERROR),
    ],
    ids=["the program", "the tests", "a call back"],
)  # fmt: skip
@pytest.mark.asyncio(loop_scope="session")
async def test_whoever_owes_an_answer_is_the_one_that_hangs(worker_pool, tests, source, kind):
    parsed = parse_tests({"kind": "code", "code": tests})
    verdict = await worker_pool.judge(parsed, f"```python\n{source}\n```", limits=Limits(cpu_s=0.1))
    assert verdict.verdict is kind, verdict


@pytest.mark.asyncio(loop_scope="session")
async def test_a_wrong_program_fails_test_classes_that_nobody_runs(worker_pool):
    tests = "import unittest\nclass A(unittest.TestCase):\n    def test(self): self.assertEqual(f(1), 1)"
    verdict = await worker_pool.judge(
        parse_tests({"kind": "code", "code": tests}), "```python\ndef f(x): return 0\n```"
    )
    assert verdict.verdict is VerdictKind.WRONG_ANSWER, verdict
