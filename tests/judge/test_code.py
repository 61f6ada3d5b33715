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


async def test_a_broken_test_program_is_not_the_candidates_fault(pool):
    tests = parse_tests({"kind": "code", "code": "def check(:"})
    verdict = await pool.judge(tests, answer("x = 1"))
    assert verdict.verdict is VerdictKind.JUDGE_ERROR
    assert "test program" in verdict.detail
