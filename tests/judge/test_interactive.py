"""Interactive problems: who is blamed when the conversation stops."""

import pytest

from alpharay.judge import Limits, ProblemError, VerdictKind, parse_tests

pytestmark = pytest.mark.asyncio(loop_scope="session")

ECHO = "import sys\nfor line in sys.stdin:\n    print(line, end='', flush=True)\nsys.exit(0)"


def talking_with(source, cases=1, **interactor):
    inputs = [{"input": str(number), "output": "HIDDEN"} for number in range(cases)]
    program = {"language": "python", "source": source, **interactor}
    return parse_tests({"kind": "stdio", "cases": inputs, "interactor": program})


def answer(program):
    return f"```python\n{program}\n```"


async def test_a_conversation_in_which_both_wait_is_told_as_idle(pool):
    source = "input()\ninput()"
    verdict = await pool.judge(talking_with(source), answer("input()"), limits=Limits(cpu_s=0.1))
    assert verdict.verdict is VerdictKind.TIME_LIMIT
    assert verdict.detail.startswith("idle: it and the interactor waited")


async def test_an_interactor_that_waits_for_nobody_is_at_fault(pool):
    source = "import time\ntime.sleep(1000)"
    verdict = await pool.judge(talking_with(source), answer("pass"), limits=Limits(cpu_s=0.1))
    assert verdict.verdict is VerdictKind.JUDGE_ERROR
    assert "the interactor of the tests failed" in verdict.detail


async def test_what_both_write_without_end_is_bounded_by_the_candidate_s_time(pool):
    verdict = await pool.judge(
        talking_with(ECHO),
        answer("while True:\n    print(1, flush=True)\n    input()"),
        limits=Limits(cpu_s=0.1),
    )
    assert verdict.verdict is VerdictKind.TIME_LIMIT


async def test_a_crash_counts_before_what_the_interactor_makes_of_it(pool):
    """It hears of the candidate's end only after that was seen, so that this is the same every time."""
    source = "import sys\nsys.exit(1 if sys.stdin.read() == '' else 0)"
    verdicts = {
        (await pool.judge(talking_with(source, public=bool(turn % 2)), answer("1 / 0"))).verdict
        for turn in range(20)
    }
    assert verdicts == {VerdictKind.RUNTIME_ERROR}


async def test_an_interactor_s_words_are_kept_back_unless_they_are_public(pool):
    source = "import sys\nprint(open(sys.argv[3]).read(), file=sys.stderr)\nsys.exit(1)"
    hidden = await pool.judge(talking_with(source), answer("print(1)"))
    public = await pool.judge(talking_with(source, public=True), answer("print(1)"))
    assert (hidden.detail, public.detail) == ("refused by the interactor", "HIDDEN")


async def test_each_case_is_a_new_conversation(pool):
    source = "import sys\nprint(open(sys.argv[1]).read(), flush=True)\nsys.exit(input() != open(sys.argv[1]).read())"
    verdict = await pool.judge(talking_with(source, cases=12), answer("print(input())"))
    assert (verdict.verdict, verdict.passed) == (VerdictKind.ACCEPTED, 12)


async def test_the_memory_of_an_interactor_is_not_the_candidate_s(pool):
    source = "import sys\nx = bytes(100 << 20)\nsys.exit(0)"
    verdict = await pool.judge(talking_with(source), answer("pass"), limits=Limits(memory_mb=64))
    assert verdict.accepted
    assert verdict.memory_mb < 64


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"float_tolerance": 0.1}, "tests.float_tolerance says how to compare, and the interactor decides"),
        ({"checker": "lines"}, "tests.checker says how to compare, and the interactor decides"),
        ({"interactor": {"language": "python"}}, "tests.interactor.source is missing"),
        (
            {
                "interactor": {"language": "python", "source": "x", "style": "kattis"},
                "checker": {"language": "python", "source": "x"},
            },
            "an interactor of the kattis style decides itself",
        ),
    ],
)
async def test_what_would_have_no_effect_beside_an_interactor_is_refused(more, message):
    tests = {"kind": "stdio", "cases": [{"input": ""}], "interactor": {"language": "python", "source": "x"}}
    with pytest.raises(ProblemError, match=message):
        parse_tests(tests | more)


@pytest.mark.parametrize(
    "failing",
    [
        "raise BrokenPipeError",
        "import os, signal\nsignal.signal(13, signal.SIG_DFL)\nos.kill(os.getpid(), 13)",
    ],
)
async def test_an_interactor_that_fails_while_the_candidate_is_there_is_at_fault(pool, failing):
    verdict = await pool.judge(talking_with(failing), answer("import sys\nsys.stdin.read()"))
    assert verdict.verdict is VerdictKind.JUDGE_ERROR


@pytest.mark.parametrize("words", ["", "BrokenPipeError: x", "EOFError: x"])
async def test_a_candidate_that_ends_first_has_crashed_whatever_it_calls_that(pool, words):
    source = "import sys, time\nsys.stdin.readline()\ntime.sleep(0.2)"
    program = f"import sys\nprint(1, flush=True)\nsys.stderr.write({words!r})\nsys.exit(3)"
    verdict = await pool.judge(talking_with(source), answer(program))
    assert verdict.verdict is VerdictKind.RUNTIME_ERROR


async def test_an_output_file_reaches_its_checker_whole(pool):
    """Null characters included."""
    tests = parse_tests(
        {
            "kind": "stdio",
            "cases": [{"input": "", "output": ""}],
            "interactor": {
                "language": "python",
                "source": "import sys\nopen(sys.argv[2], 'w').write('a\\0b')",
            },
            "checker": {
                "language": "python",
                "source": "import sys\nsys.exit(open(sys.argv[2]).read() != 'a\\0b')",
            },
        }
    )
    assert (await pool.judge(tests, answer("pass"))).accepted
