"""Imports that run a row's own programs: CodeContests+ rows with generators, and CodeContests rows as they are."""

import argparse
import asyncio
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alpharay.judge import JudgePool, Program, parse_problem
from alpharay.judge.checkers import parse_checker
from alpharay.judge.errors import JudgeError
from alpharay.judge.formats.command import add_arguments, run
from alpharay.judge.formats.graded import levels
from alpharay.judge.pool.generating import CannotGenerate, Generating, Recipe
from alpharay.judge.sandbox.toolchains import installed

TESTLIB = Path(__file__).parent / "data" / "testlib_like.h"
INCLUDE = '#include "testlib.h"\n'
GENERATOR = f"""{INCLUDE}int main(int argc, char *argv[]) {{
    registerGen(argc, argv, 1);
    printf("%lld\\n", rnd.next(0, opt<long long>("max")));
}}
"""
VALIDATOR = f"""{INCLUDE}int main(int argc, char *argv[]) {{
    registerValidation(argc, argv);
    inf.readLong(0, 1000000000000LL);
    inf.readEoln();
    inf.readEof();
}}
"""
CHECKER = f"""{INCLUDE}int main(int argc, char *argv[]) {{
    registerTestlibCmd(argc, argv);
    long long sum = inf.token(), a = ouf.token(), b = ouf.token();
    if (a < 0 || b < 0 || a + b != sum) quitf(_wa, "they do not add up");
    quitf(_ok, "fine");
}}
"""
ROW = {
    "source": "Codeforces",
    "id": "9000_A",
    "title": "Two parts",
    "description": "Read s and print two numbers of at least 0 that add up to it.",
    "time_limit": 1000,
    "memory_limit": 256,
    "checker": CHECKER,
    "generator": GENERATOR,
    "generator_cmd": "./gen -max 9 -seed 1\n./gen -max 9 -seed 2\n./gen -max 1000000 > 3.in\ngen -max 999999999999\n",
    "validator": VALIDATOR,
    "correct_submissions": [
        {"code": "print(0, int(input()))", "language": "py3"},
        {"code": "print int(raw_input()), 0", "language": "py2"},
        {"code": "#include <iostream>\nint main() { long long s; std::cin >> s; std::cout << s << ' ' << 0; }", "language": "cpp"},
    ],
    "incorrect_submissions": [],
    "test_cases": [],
}  # fmt: skip
PYTHON_GENERATOR = "import random, sys\nprint(random.randint(0, int(sys.argv[1])))\n"
CODECONTESTS = {
    "name": "9001_B. Double",
    "description": "Read n and print 2n.",
    "public_tests": {"input": ["3\n"], "output": ["6\n"]},
    "private_tests": {"input": ["4\n"], "output": ["8\n"]},
    "generated_tests": {"input": ["5\n", "1" * 40 + "\n"], "output": ["10\n", "2" * 40 + "\n"]},
    "time_limit": {"seconds": 1, "nanos": 500000000},
    "memory_limit_bytes": 256000000,
    "input_file": "",
    "output_file": "",
    "source": 2,
    "difficulty": 7,
}  # fmt: skip


@pytest.fixture
def convert(tmp_path):
    """convert(format, rows, options) runs the command: the problems that it wrote."""

    def problems(kind, rows, *options, parquet=False):
        source = tmp_path / "rows"
        if parquet:
            pq.write_table(pa.Table.from_pylist(rows), source)
        else:
            source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        out = tmp_path / "out.jsonl"
        assert run(parser.parse_args([kind, str(source), "--out", str(out), *map(str, options)])) == 0
        return [json.loads(line) for line in out.read_text().splitlines()]

    return problems


def cases(problem):
    return [(case["input"], case["output"], case["level"]) for case in problem["tests"]["cases"]]


def verdict_of(problem, program):
    async def judged():
        async with JudgePool(1) as pool:
            return await pool.judge(parsed.tests, f"```python\n{program}\n```", limits=parsed.limits())

    parsed = parse_problem(problem)
    return asyncio.run(judged())


@pytest.mark.parametrize("parquet", [False, True])
def test_codecontests_has_its_public_tests_at_level_0_and_the_others_by_size(convert, parquet):
    (problem,) = convert("codecontests", [CODECONTESTS], parquet=parquet)
    assert (problem["id"], problem["time_limit_s"], problem["memory_limit_mb"]) == (
        "9001_B. Double",
        1.5,
        244,
    )
    assert [level for *_, level in cases(problem)] == [0, 1, 1, 2]
    parse_problem(problem)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input_file": "in.txt"}, "its programs use a file instead of standard streams"),
        ({"description": "See <image>."}, "its statement has images"),
        ({"public_tests": {"input": ["1"], "output": []}}, "public_tests has not as many outputs as inputs"),
        ({name: {"input": [], "output": []} for name in ("public_tests", "private_tests", "generated_tests")}, "it has no tests"),
    ],
)  # fmt: skip
def test_what_of_codecontests_cannot_be_judged_is_left_out_and_said(convert, capsys, change, reason):
    assert len(convert("codecontests", [CODECONTESTS, {**CODECONTESTS, "name": "other", **change}])) == 1
    assert f"left out: 1, such as row 2: {reason}" in capsys.readouterr().err


def test_tests_that_a_row_brings_are_judged_by_its_checker(convert):
    row = {**ROW, "test_cases": [{"input": "7\n", "output": "3 4\n"}]}
    (problem,) = convert("codecontests+", [row], "--testlib", TESTLIB)
    assert cases(problem) == [("7\n", "3 4\n", 1)]
    assert (verdict_of(problem, "print(1, int(input()) - 1)")).accepted
    assert (verdict_of(problem, "print(1, int(input()))")).verdict == "wrong_answer"


def test_a_row_without_tests_has_them_made_and_they_are_the_same_each_time(convert):
    (problem,) = convert("codecontests+", [ROW], "--testlib", TESTLIB, parquet=True)
    (again,) = convert("codecontests+", [ROW], "--testlib", TESTLIB)
    assert problem == again
    inputs = [input_text for input_text, _, _ in cases(problem)]
    assert len(inputs) == len(set(inputs)) == len(inputs)
    assert all(output.split() == [input_text.strip(), "0"] for input_text, output, _ in cases(problem))
    assert (verdict_of(problem, "print(int(input()), 0)")).accepted
    assert (verdict_of(problem, "print(int(input()), 1)")).verdict == "wrong_answer"


def test_what_a_python_generator_draws_is_the_same_each_time(convert):
    row = {
        **ROW,
        "generator": PYTHON_GENERATOR,
        "generator_cmd": ["python gen.py 999999999", "gen.py 999999998"],
    }
    first, second = (convert("codecontests+", [row], "--testlib", TESTLIB) for _ in range(2))
    assert first == second


def test_an_input_that_the_validator_refuses_is_left_out_and_counted(convert, capsys):
    row = {**ROW, "generator_cmd": f"{ROW['generator_cmd']}./gen -max 8999999999999999999 -seed 3"}
    assert len(convert("codecontests+", [row], "--testlib", TESTLIB)) == 1
    assert "inputs left out: 1, since the validator refused the input" in capsys.readouterr().err


def test_what_was_made_before_is_taken_from_the_cache(convert, tmp_path):
    cache = tmp_path / "cache"
    (problem,) = convert("codecontests+", [ROW], "--testlib", TESTLIB, "--cache", cache)
    (kept,) = cache.iterdir()
    kept.write_text(json.dumps([["1\n", "1 0"]]))
    (cached,) = convert("codecontests+", [ROW], "--testlib", TESTLIB, "--cache", cache)
    assert cases(problem) != cases(cached) == [("1\n", "1 0", 1)]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, (), "its checker includes testlib.h, which is not in the data; give it with --testlib FILE"),
        ({"generator": ""}, ("--testlib", TESTLIB), "nothing that makes them (generator)"),
        ({"generator_cmd": ""}, ("--testlib", TESTLIB), "no command lines (generator_cmd)"),
        ({"correct_submissions": []}, ("--testlib", TESTLIB), "no correct submission in Python 3 or C++"),
        ({"generator": "#include <nothing.h>\n"}, ("--testlib", TESTLIB), "the generator of the tests needs nothing.h"),
        ({"generator": "import sys\nsys.exit(5)"}, ("--testlib", TESTLIB), "its generator gives no valid input"),
        ({"generator": "open('/etc/passwd')"}, ("--testlib", TESTLIB), "its generator gives no valid input"),
        ({"correct_submissions": [{"code": "print(-1, 1)", "language": "py3"}]}, ("--testlib", TESTLIB),
         "its correct submissions fail or disagree on every input"),
    ],
)  # fmt: skip
def test_a_row_of_which_no_tests_can_be_made_says_what_is_missing(convert, change, options, message):
    with pytest.raises(JudgeError) as error:
        convert("codecontests+", [{**ROW, **change}], *options)
    assert message in str(error.value)


TWO_IN_PYTHON = [
    {"code": f"print({text})", "language": "py3"} for text in ("0, int(input())", "int(input()), 0")
]


def test_a_checker_that_fails_is_told_as_such_and_not_as_submissions_that_disagree(convert):
    row = {
        **ROW,
        "generator": PYTHON_GENERATOR,
        "generator_cmd": "gen 5",
        "validator": "",
        "checker": "1 / 0",
    }
    with pytest.raises(
        JudgeError,
        match=r"one of its programs fails: .*the checker of the tests failed with ZeroDivisionError",
    ):
        convert("codecontests+", [{**row, "correct_submissions": TWO_IN_PYTHON}])


def test_a_language_that_is_not_installed_is_told_as_such(monkeypatch):
    """And not found out as submissions that fail."""
    monkeypatch.setenv("PATH", "/nonexistent")
    installed.forget()
    generator = parse_checker({"language": "python", "source": "print(1)"})
    recipe = Recipe(
        generator=generator, commands=((),), validator=None, checker=None, time_limit_s=1.0, memory_mb=64,
        references=(("java", Program("class A { }", fenced=True)),),
    )  # fmt: skip
    try:
        with (
            Generating() as generating,
            pytest.raises(CannotGenerate, match="cannot be run here: Java needs a JDK"),
        ):
            generating.make(recipe)
    finally:
        monkeypatch.undo()
        installed.forget()


def test_levels_are_factors_of_ten_over_the_smallest_input():
    assert levels(["1", "123", "1" * 10, "1" * 1000, ""]) == [1, 1, 2, 3, 1]
