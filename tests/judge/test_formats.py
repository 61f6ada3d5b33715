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
        tmp_path / "halves", validator_flags="float_tolerance 1e-4", limits="{time_limit: 2, memory: 256}"
    )
    [problem] = convert("kattis", folder)
    assert problem["id"] == "halves"
    assert (problem["time_limit_s"], problem["memory_limit_mb"]) == (2.0, 256)
    assert [case["level"] for case in problem["tests"]["cases"]] == [0, 1]
    assert "Sample input:\n3" in problem["prompt"]
    assert (await judged(pool, problem, "print(int(input()) / 2 + 1e-6)")).accepted
    assert (await judged(pool, problem, "print(int(input()) // 2)")).verdict == "wrong_answer"


def kattis(folder, *, validation="default", validator_flags="", limits="{}", answer=True):
    (folder / "data/sample").mkdir(parents=True)
    (folder / "data/secret/large").mkdir(parents=True)
    (folder / "problem_statement").mkdir()
    (folder / "problem.yaml").write_text(
        f"name: Halves\nvalidation: {validation}\nvalidator_flags: {validator_flags}\nlimits: {limits}\n"
    )
    (folder / "problem_statement/problem.en.tex").write_text("\\problemname{Halves}\nHalve a number.\n")
    (folder / "data/sample/1.in").write_text("3\n")
    (folder / "data/sample/1.ans").write_text("1.5\n")
    (folder / "data/secret/large/1.in").write_text("101\n")
    if answer:
        (folder / "data/secret/large/1.ans").write_text("50.5\n")
    return folder


def test_a_folder_of_packages_leaves_out_those_with_a_checker_of_their_own(convert, tmp_path, capsys):
    kattis(tmp_path / "a")
    kattis(tmp_path / "b", validation="custom interactive")
    kattis(tmp_path / "c", answer=False)
    assert [problem["id"] for problem in convert("kattis", tmp_path)] == ["a"]
    told = capsys.readouterr().err
    assert "b: its answers are checked by a program of its own" in told
    assert "c: 1.in has no answer file 1.ans" in told


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
    told = capsys.readouterr().err
    assert "row 2: it has no tests" in told
    assert "row 3: input_output is not JSON" in told
    assert "row 4: the id '77' is there twice" in told


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
        {**row, "base_input": given, "plus_input": [], "atol": 0}
        for row, given in zip(rows, inputs, strict=True)
    ]
    async with JudgePool(workers=1) as pool:
        for row, problem in zip(rows, convert("humaneval", plus), strict=True):
            assert (await judged(pool, problem, row["prompt"] + row["canonical_solution"])).accepted
            assert not (await judged(pool, problem, row["prompt"] + "    return None\n")).accepted
