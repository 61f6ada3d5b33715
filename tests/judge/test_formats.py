"""Problems of other formats: converted, and judged by the real judge with a right and a wrong program."""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import pickle
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alpharay.judge import JudgePool, parse_problem
from alpharay.judge.errors import JudgeError
from alpharay.judge.formats.command import add_arguments, run
from alpharay.judge.formats.livecodebench import convert as livecodebench

in_session = pytest.mark.asyncio(loop_scope="session")

# Self-written samples in each format; "right" and "wrong" are programs for them.
START = 'def add_all(xs):\n    """Sum.\n    >>> add_all([1, 2])\n    3\n    """\n'
HUMANEVAL = {
    "task_id": "HumanEval/900", "prompt": START, "entry_point": "add_all", "canonical_solution": "    return sum(xs)\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
}  # fmt: skip
HUMANEVAL_PLUS = {
    **HUMANEVAL,
    "base_input": [[[1, 2]]],
    "plus_input": [[[]], [[0.1, 0.2]], [[float("inf")]]],
    "atol": 0,
}
MBPP = {
    "task_id": 901, "text": "Write a function to add a list.", "code": "...", "test_setup_code": "",
    "test_list": ["assert add_all([1, 2]) == 3", "assert add_all([]) == 0"],
}  # fmt: skip
MBPP_PLUS = {
    "task_id": "Mbpp/902", "prompt": '"""\nAdd a list.\nassert add_all([1, 2]) == 3\n"""', "entry_point": "add_all",
    "canonical_solution": "def add_all(xs):\n    return sum(xs)\n", "base_input": [[[1, 2]]], "plus_input": "[[[]]]",
    "atol": 0, "assertion": "assert add_all([1, 2]) == 3\n",
}  # fmt: skip
MBPP_PLUS_TABLE = {
    "task_id": 903, "prompt": "Add a list.", "code": "...", "test_imports": ["import math"],
    "test_list": ["assert add_all([1, 2]) == 3"],
    "test": "for given, expected in zip([[[1, 2]], [[]]], [3, 0]):\n    assert math.isclose(add_all(*given), expected)\n",
}  # fmt: skip
MBPP_SETS = {
    **MBPP_PLUS, "task_id": "Mbpp/2", "entry_point": "similar_elements", "base_input": [[[1, 2, 3], [2, 3]]],
    "plus_input": [], "canonical_solution": "def similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
}  # fmt: skip
PRIVATE = json.dumps([{"input": "5 6\n", "output": "11\n", "testtype": "stdin"}])
LCB = {
    "question_id": "1873_A", "question_content": "Add two numbers.", "starter_code": "", "metadata": "{}",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(PRIVATE))).decode(),
}  # fmt: skip
LCB_CALL = {
    "question_id": "2777", "question_content": "Add two numbers.",
    "starter_code": "class Solution:\n    def add(self, a: int, b: int) -> int:\n        ",
    "metadata": json.dumps({"func_name": "add"}), "private_test_cases": "[]",
    "public_test_cases": json.dumps([{"input": "1\n2", "output": "3", "testtype": "functional"}]),
}  # fmt: skip
APPS = {
    "problem_id": 77, "question": "Add two numbers.", "starter_code": "",
    "input_output": json.dumps({"inputs": ["1 2\n", ["5", "6"]], "outputs": ["3\n", ["11"]]}),
}  # fmt: skip
APPS_CALL = {
    **APPS, "problem_id": 78,
    "input_output": json.dumps({"fn_name": "add", "inputs": [[1, 2], [5, 6]], "outputs": [[3], [11]]}),
}  # fmt: skip
TACO = {
    **APPS,
    "problem_id": None,
    "name": "adding",
    "time_limit": "2.0 seconds",
    "memory_limit": "256.0 megabytes",
}

SUM, SUM_WRONG = "def add_all(xs):\n    return sum(xs)\n", "def add_all(xs):\n    return sum(xs) or 5\n"
READ, READ_WRONG = "print(sum(map(int, open(0).read().split())))", "print(3)"
ADD, ADD_WRONG = "def add(a, b):\n    return a + b\n", "def add(a, b):\n    return 4\n"
METHOD = "class Solution:\n    def add(self, a, b):\n        return a + b\n"
SETS = "def similar_elements(a, b):\n    return [3, 2]\n"

ROWS = [
    ("humaneval", HUMANEVAL, SUM, SUM_WRONG),
    ("humaneval", HUMANEVAL_PLUS, SUM, SUM_WRONG),
    ("mbpp", MBPP, SUM, SUM_WRONG),
    ("mbpp", MBPP_PLUS, SUM, SUM_WRONG),
    ("mbpp", MBPP_PLUS_TABLE, SUM, SUM_WRONG),
    ("mbpp", MBPP_SETS, SETS, "def similar_elements(a, b):\n    return [3]\n"),
    ("livecodebench", LCB, READ, READ_WRONG),
    ("livecodebench", LCB_CALL, METHOD, "class Solution:\n    def add(self, a, b):\n        return a\n"),
    ("apps", APPS, READ, READ_WRONG),
    ("apps", APPS_CALL, ADD, ADD_WRONG),
    ("taco", TACO, READ, READ_WRONG),
    ("livecodebench", LCB, f"{READ[:-1]} / 1)", "print('3 0')"),
    (
        "livecodebench",
        LCB_CALL,
        "def add(a, b):\n    return float(a + b)\n",
        "def add(a, b):\n    return '3'\n",
    ),
    ("apps", APPS, f"{READ[:-1]} + 1e-6)", f"{READ[:-1]} + 0.1)"),
    ("apps", APPS_CALL, "def add(a, b):\n    return float(a + b)\n", ADD_WRONG),
]


@pytest.fixture(scope="module")
def convert(tmp_path_factory):
    """convert(format, source) runs the command: the problems that it wrote."""

    def problems(kind, source):
        folder = tmp_path_factory.mktemp("import")
        if isinstance(source, list):
            path = folder / "rows.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in source))
            source = path
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        assert run(parser.parse_args([kind, str(source), "--out", str(folder / "out.jsonl")])) == 0
        return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]

    return problems


async def judged(pool, problem, program):
    parsed = parse_problem(problem)
    return await pool.judge(parsed.tests, f"```python\n{program}\n```", limits=parsed.limits())


@pytest.mark.parametrize(
    "number", range(len(ROWS)), ids=[f"{kind}-{row.get('task_id', '')}" for kind, row, *_ in ROWS]
)
@in_session
async def test_a_converted_problem_tells_right_from_wrong(convert, pool, number):
    kind, row, right, wrong = ROWS[number]
    [problem] = convert(kind, [row])
    accepted = await judged(pool, problem, right)
    assert accepted.accepted, accepted
    assert (await judged(pool, problem, wrong)).verdict == "wrong_answer"


@in_session
async def test_a_kattis_package_tells_right_from_wrong(convert, pool, tmp_path):
    folder = kattis(
        tmp_path / "halves",
        settings="validator_flags: float_tolerance 1e-4\nlimits: {time_limit: 2, memory: 256}",
    )
    [problem] = convert("kattis", folder)
    assert problem["id"] == "halves"
    assert (problem["time_limit_s"], problem["memory_limit_mb"]) == (2.0, 256)
    assert [case["level"] for case in problem["tests"]["cases"]] == [0, 1]
    assert "Sample input:\n3" in problem["prompt"]
    assert (await judged(pool, problem, "print(int(input()) / 2 + 1e-6)")).accepted
    assert (await judged(pool, problem, "print(int(input()) // 2)")).verdict == "wrong_answer"


def kattis(folder, *, settings="", answer=True):
    (folder / "data/sample").mkdir(parents=True)
    (folder / "data/secret/large").mkdir(parents=True)
    (folder / "problem_statement").mkdir()
    (folder / "problem.yaml").write_text(f"name: Halves\n{settings}\n")
    (folder / "problem_statement/problem.en.tex").write_text("\\problemname{Halves}\nHalve a number.\n")
    (folder / "data/sample/1.in").write_text("3\n")
    (folder / "data/sample/1.ans").write_text("1.5\n")
    (folder / "data/secret/large/1.in").write_text("101\n")
    if answer:
        (folder / "data/secret/large/1.ans").write_text("50.5\n")
    return folder


@pytest.mark.parametrize(
    ("settings", "file", "reason"),
    [
        ("validation: custom", "", "its answers are checked by a program of its own"),
        ("validation: custom interactive", "", "it is interactive"),
        ("type: interactive", "", "it is interactive"),
        ("type: [pass-fail, interactive, multi-pass]", "", "it is interactive"),
        ("type: multi-pass", "", "it runs a program in several passes"),
        ("type: submit-answer", "", "it asks for the answers themselves"),
        ("", "data/sample/2.interaction", "it is interactive"),
        ("", "output_validator/check.py", "its answers are checked by a program of its own"),
        ("", "output_validators/check/check.cc", "its answers are checked by a program of its own"),
        ("", "static_validator/check.py", "its programs' sources are checked"),
        ("", "include/python3/main.py", "its programs are completed by files of its own"),
        ("", "data/secret/large/1.files/data.txt", "its programs read files beside standard input"),
        ("", "data/secret/large/1.yaml\nargs: [a]", "its programs are given arguments on the command line"),
        ("", "data/secret/test_group.yaml\noutput_validator_args: [case_sensitive]", "compared in different"),
        ("", "data/testdata.yaml\noutput_validator_flags: float_tolerance", "no number after a tolerance"),
        ("", "data/testdata.yaml\n[", "one of its YAML files cannot be read: testdata.yaml"),
        ("validator_flags: ignore_order", "", "does not know a flag of its: ignore_order"),
        ("languages: [java, kotlin]", "", "neither Python nor C++"),
        ("limits: {memory: 256}", "", ""),
    ],
)
def test_a_package_that_comparison_cannot_judge_is_left_out_with_its_reason(
    convert, tmp_path, capsys, settings, file, reason
):
    kattis(tmp_path / "a")
    folder = kattis(tmp_path / "b", settings=settings)
    name, _, content = file.partition("\n")
    if name:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    kept = [problem["id"] for problem in convert("kattis", tmp_path)]
    errors = capsys.readouterr().err
    assert kept == (["a"] if reason else ["a", "b"])
    assert not reason or ("such as b: " in errors and reason in errors)


def test_what_was_left_out_is_counted_by_reason(convert, tmp_path, capsys):
    for name in "abcd":
        kattis(tmp_path / name, settings="type: interactive" if name > "b" else "", answer=name != "b")
    convert("kattis", tmp_path)
    errors = capsys.readouterr().err
    assert "1 problems written" in errors
    assert ", 3 left out" in errors
    assert "left out: 2, such as c: it is interactive" in errors
    assert "left out: 1, such as b: a test case has no answer file: 1.ans" in errors


@pytest.mark.parametrize(
    ("settings", "group", "options"),
    [
        ("", "", {"case_sensitive": False}),
        ("validator_flags: case_sensitive", "", {"case_sensitive": True}),
        ("validator_flags: float_tolerance 1e-4", "", {"case_sensitive": False, "float_tolerance": 1e-4}),
        (
            "problem_format_version: 2023-07\nconstants: {eps: 1e-3}",
            "output_validator_args: [case_sensitive, float_absolute_tolerance, '{{eps}}']",
            {"case_sensitive": True, "float_absolute_tolerance": 1e-3},
        ),
        (
            "validator_flags: float_relative_tolerance 1e-3 space_change_sensitive",
            "output_validator_flags: float_absolute_tolerance 1e-2",
            {
                "case_sensitive": False,
                "space_change_sensitive": True,
                "float_relative_tolerance": 1e-3,
                "float_absolute_tolerance": 1e-2,
            },
        ),
    ],
)
def test_the_flags_of_the_default_output_validator_say_how_to_compare(
    convert, tmp_path, settings, group, options
):
    folder = kattis(tmp_path / "a", settings=settings)
    (folder / "data/test_group.yaml").write_text(group)
    [problem] = convert("kattis", folder)
    tests = problem["tests"]
    assert {name: tests[name] for name in tests if name not in ("kind", "cases")} == options


def test_a_package_of_2023_07_is_read_with_its_statement_and_shown_samples(convert, tmp_path):
    folder = kattis(tmp_path / "a", settings="languages: [cpp]\nconstants: {most: 99}")
    (folder / "problem_statement").rename(folder / "statement")
    (folder / "statement/problem.en.tex").unlink()
    (folder / "statement/problem.en.md").write_text("Halve a number up to {{most}}. {{other}} stays.\n")
    (folder / "data/sample/1.out").write_text("1.50\n")
    [problem] = convert("kattis", folder)
    assert problem["language"] == "cpp"
    assert (
        "a number up to 99. {{other}} stays.\n\nSample input:\n3\nSample output:\n1.50\n" in problem["prompt"]
    )
    assert "Write a C++ program" in problem["prompt"]
    assert problem["tests"]["cases"][0]["output"] == "1.5\n"


@pytest.mark.parametrize("how", ["gz", "list", "parquet"])
def test_rows_are_read_however_they_are_packed(convert, tmp_path, how):
    rows = [MBPP, {**MBPP, "task_id": 905}]
    path = tmp_path / f"rows.{how}"
    if how == "gz":
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    elif how == "list":
        path.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    assert [problem["id"] for problem in convert("mbpp", path)] == ["Mbpp/901", "Mbpp/905"]


def test_private_cases_cannot_run_anything():
    class Evil:
        def __reduce__(self):
            return print, ("run",)

    row = {**LCB, "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()}
    with pytest.raises(ValueError, match=r"cannot be unpacked: it asks for builtins\.print"):
        livecodebench(row)


def test_what_cannot_be_judged_is_left_out_and_told(convert, capsys):
    rows = [
        APPS,
        {**APPS, "problem_id": 1, "input_output": ""},
        {**APPS, "problem_id": 2, "input_output": "{"},
        APPS,
    ]
    assert [problem["id"] for problem in convert("apps", rows)] == ["77"]
    errors = capsys.readouterr().err
    assert "row 2: it has no tests" in errors
    assert "row 3: input_output is not JSON" in errors
    assert "row 4: its id is there twice: '77'" in errors


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("", "holds no problem of the format mbpp"),
        ("nonsense\n", "neither JSON, JSONL nor Parquet"),
        ("[1]", "a row must be an object"),
        (json.dumps({"task_id": 1}), "row 1: prompt and text are missing"),
        ("PAR1 and no more", "neither JSON, JSONL nor Parquet"),
    ],
)
def test_a_file_of_something_else_is_refused_and_nothing_is_written(convert, tmp_path, content, names):
    path = tmp_path / "rows"
    path.write_text(content)
    with pytest.raises(JudgeError, match=names):
        convert("mbpp", path)


@in_session
async def test_every_canonical_solution_of_a_few_humaneval_problems_is_accepted_by_its_plus_form(convert):
    """HumanEval's own rows (MIT, see data/humaneval), with their docstring inputs as EvalPlus would list them."""
    from pathlib import Path

    with gzip.open(Path(__file__).parent / "data/humaneval/HumanEval.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines][:3]
    inputs = [[[[1.0, 2.0, 3.9], 0.3]], [["( ) (( ))"]], [[3.5]]]
    plus = [
        {**row, "base_input": argument_lists, "plus_input": [], "atol": 0}
        for row, argument_lists in zip(rows, inputs, strict=True)
    ]
    async with JudgePool(workers=1) as pool:
        for row, problem in zip(rows, convert("humaneval", plus), strict=True):
            assert (await judged(pool, problem, row["prompt"] + row["canonical_solution"])).accepted
            assert not (await judged(pool, problem, row["prompt"] + "    return None\n")).accepted
