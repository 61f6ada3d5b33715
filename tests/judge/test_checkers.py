"""Checkers that are programs: what they are given, what becomes of their words, and what they cost."""

import pytest

from alpharay.judge import ProblemError, VerdictKind, parse_tests
from alpharay.judge.compile.compiling import Binaries
from alpharay.judge.limits import Limits
from alpharay.judge.pool.job import Job
from alpharay.judge.pool.judging import judge

pytestmark = pytest.mark.asyncio(loop_scope="session")

TELLING = "import sys\nprint('expected', open(sys.argv[3]).read(), file=sys.stderr)\nsys.exit(1)"


def checked_by(cases=1, **checker):
    inputs = [{"input": str(number), "output": "HIDDEN"} for number in range(cases)]
    return parse_tests({"kind": "stdio", "cases": inputs, "checker": {"language": "python", **checker}})


def answer(program):
    return f"```python\n{program}\n```"


async def test_what_a_checker_says_is_kept_back_unless_it_is_public(pool):
    hidden = await pool.judge(checked_by(source=TELLING), answer("print(1)"))
    public = await pool.judge(checked_by(source=TELLING, public=True), answer("print(1)"))
    assert (hidden.verdict, hidden.detail) == (VerdictKind.WRONG_ANSWER, "refused by the checker")
    assert public.detail == "expected HIDDEN"


@pytest.mark.parametrize(
    "raised", ["ValueError(answer)", "ValueError('\\n' + answer)", "type(answer, (Exception,), {})()"]
)
async def test_a_crash_does_not_tell_the_answer_that_the_checker_was_at(pool, raised):
    source = f"import sys\nanswer = open(sys.argv[3]).read()\nraise {raised}"
    verdict = await pool.judge(checked_by(source=source), answer("print(1)"))
    assert verdict.verdict is VerdictKind.JUDGE_ERROR
    assert "checker of the tests failed" in verdict.detail
    assert "HIDDEN" not in verdict.detail or raised.startswith("type"), "only its author can name a class so"


async def test_the_case_at_which_a_checker_failed_is_told(pool):
    source = "import sys\nsys.exit(3 if open(sys.argv[1]).read() == '1' else 0)"
    verdict = await pool.judge(checked_by(3, source=source), answer("print(1)"))
    assert (verdict.verdict, verdict.failed_case) == (VerdictKind.JUDGE_ERROR, None)
    assert verdict.detail.startswith("case 2 of 3: the checker of the tests said that it cannot decide")


async def test_a_fault_of_the_checker_is_not_remembered(pool):
    source = "import sys, time\nsys.exit(3)"
    tests = checked_by(source=source)
    first, second = [await pool.judge(tests, answer("print(1)")) for _ in range(2)]
    assert first is not second


async def test_points_of_an_own_scale_pass_from_where_the_problem_says(pool):
    source = "import sys\nprint('points 30 good', file=sys.stderr)\nsys.exit(7)"
    enough = await pool.judge(checked_by(source=source, full_points=30), answer("print(1)"))
    few = await pool.judge(checked_by(source=source, full_points=100), answer("print(1)"))
    assert enough.accepted
    assert few.detail == "30 of 100 points"


async def test_the_candidate_cannot_see_what_its_checker_left(pool):
    """Not even where it is the checker's own text, of which a compiled process is at hand."""
    source = (
        "import sys, os\nfor path in ('/build', '/tmp', *sys.argv[1:2]):\n"
        "    try:\n        print(sorted(os.listdir(path)))\n    except OSError:\n        pass\n"
    )
    verdict = await pool.judge(checked_by(4, source=source), answer(source), keep_output=True)
    assert (verdict.verdict, verdict.stdout) == (VerdictKind.ACCEPTED, "")


async def test_a_compiled_checker_is_compiled_once_for_all_cases_and_candidates(worker):
    class Counting:
        stages: list[str] = []  # noqa: RUF012 - of this one object

        async def run(self, order):
            self.stages.append(order.entry or order.mode)
            return await worker.run(order)

    source = "int main() { return 0; }"
    tests = checked_by(3, source=source, language="cpp")
    runner, binaries = Counting(), Binaries()
    for number in range(2):
        job = Job(tests=tests, completion=answer(f"print({number})"), limits=Limits())
        assert (await judge(runner, job, binaries)).accepted
    assert runner.stages.count("link") == 1
    assert runner.stages.count("checker") == 6


async def test_a_python_checker_imports_what_lies_beside_it(pool):
    tests = checked_by(
        2, source="import reader\nreader.done()", files={"reader.py": "def done(): raise SystemExit(0)"}
    )
    assert (await pool.judge(tests, answer("print(1)"))).accepted


async def test_a_header_in_angle_brackets_is_found_among_the_problem_s_files(pool):
    source = "#include <own.h>\nint main() { return OK; }"
    tests = checked_by(source=source, language="cpp", files={"own.h": "#define OK 0\n"})
    assert (await pool.judge(tests, answer("print(1)"))).accepted


async def test_what_a_missing_testlib_needs_is_said(pool):
    tests = checked_by(source='#include "testlib.h"\nint main() {}', language="cpp")
    verdict = await pool.judge(tests, answer("print(1)"))
    assert verdict.verdict is VerdictKind.JUDGE_ERROR
    assert (
        'needs testlib.h, which is not there; put it beside the source: "files": {"testlib.h": …}'
        in verdict.detail
    )


async def test_words_on_standard_error_outlast_a_program_that_ends_well(worker):
    from alpharay.judge.sandbox.order import Order

    program = b"import sys\nprint('one', file=sys.stderr)\nsys.stderr.write('two')\n"
    ended = await worker.run(Order(mode="stdio", program=program, input=b"", limits=Limits()))
    assert ended.stderr == b"one\ntwo"


async def test_the_files_of_a_validator_stay_apart_whatever_a_candidate_has_it_write(pool):
    """Else what is for judges alone would be taken for the candidate's."""
    source = (
        "import os, sys\ngot = sys.stdin.read()\n"
        "open(os.path.join(sys.argv[3], 'judgemessage.txt'), 'w').write(f'got {got} expected SECRET')\nsys.exit(43)"
    )
    verdict = await pool.judge(checked_by(source=source, style="kattis"), answer("print('a\\0b')"))
    assert (verdict.verdict, verdict.detail) == (VerdictKind.WRONG_ANSWER, "refused by the checker")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("points 1e-05 few", VerdictKind.WRONG_ANSWER),
        ("points .5", VerdictKind.WRONG_ANSWER),
        ("1.0", VerdictKind.ACCEPTED),
        ("points 1e0", VerdictKind.ACCEPTED),
        ("points nan", VerdictKind.JUDGE_ERROR),
        ("points", VerdictKind.JUDGE_ERROR),
    ],
)
async def test_points_are_read_as_any_number_is_written(pool, message, kind):
    source = f"import sys\nsys.stderr.write({message!r})\nsys.exit(7)"
    assert (await pool.judge(checked_by(source=source), answer("print(1)"))).verdict is kind


@pytest.mark.parametrize(
    "wrong", [{"full_points": float("nan")}, {"full_points": float("inf")}, {"flags": ["\ud800"]}]
)
async def test_a_checker_that_no_run_could_satisfy_is_refused(wrong):
    with pytest.raises(ProblemError):
        checked_by(source="pass", **wrong)
