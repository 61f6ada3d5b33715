import argparse
import json

import pytest

from alpharay.judge import JudgeError
from alpharay.judge.command import add_arguments, run

PROBLEM = {
    "id": "add",
    "prompt": "Add.",
    "tests": {"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}]},
}
RIGHT, WRONG = "```python\nprint(sum(map(int, input().split())))\n```", "```python\nprint(6)\n```"


def jsonl(path, *values):
    path.write_text(
        "".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values)
    )
    return str(path)


def judge(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(list(map(str, arguments))))


def test_verdicts_come_in_the_order_of_the_candidates(tmp_path, capsys):
    problems = jsonl(tmp_path / "p", PROBLEM)
    completions = [RIGHT, WRONG, "I cannot.", RIGHT]
    candidates = jsonl(tmp_path / "c", *({"id": "add", "completion": each} for each in completions))
    assert judge(problems, candidates, "--workers", 2, "--keep-output") == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [line["verdict"] for line in lines] == ["accepted", "wrong_answer", "no_program", "accepted"]
    assert [line["index"] for line in lines] == [0, 1, 2, 3]
    assert list(lines[0]) == [
        "id",
        "index",
        "verdict",
        "passed",
        "total",
        "cpu_s",
        "wall_s",
        "memory_mb",
        "detail",
        "stdout",
    ]
    assert lines[1]["stdout"] == "6\n"
    assert "judged 4 of 4: 2 accepted" in captured.err


def test_the_out_file_is_written_whole(tmp_path, capsys):
    problems, out = jsonl(tmp_path / "p", PROBLEM), tmp_path / "out"
    candidates = jsonl(tmp_path / "c", {"id": "add", "index": 7, "completion": RIGHT})
    judge(problems, candidates, "--out", out)
    assert json.loads(out.read_text())["index"] == 7
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "out", "p"]


def test_no_out_file_is_left_when_judging_fails(tmp_path, monkeypatch):
    async def fail(*_):
        raise JudgeError("no sandbox")

    monkeypatch.setattr("alpharay.judge.command._judge_all", fail)
    problems, candidates = jsonl(tmp_path / "p", PROBLEM), jsonl(tmp_path / "c")
    with pytest.raises(JudgeError):
        judge(problems, candidates, "--out", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "p"]


@pytest.mark.parametrize(
    ("problems", "candidates", "message"),
    [
        (["{"], [], "p, line 1: not JSON"),
        ([PROBLEM, PROBLEM], [], "p, line 2: a second problem has the id 'add'"),
        ([{**PROBLEM, "tests": {}}], [], "p, line 1: tests.kind must be"),
        ([], [], "p holds no problem"),
        ([PROBLEM], [{"id": "sub", "completion": ""}], "c, line 1: there is no problem with the id 'sub'"),
        ([PROBLEM], ["", "[]"], 'c, line 2: a candidate needs "id"'),
        ([PROBLEM], [{"id": "add"}], 'c, line 1: a candidate needs "completion"'),
        ([PROBLEM], [{"id": "add", "completion": "", "index": "x"}], "c, line 1: index must be an integer"),
        ([PROBLEM], ["[" * 100_000], "c, line 1: not JSON"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, problems, candidates, message):
    with pytest.raises(JudgeError) as caught:
        judge(jsonl(tmp_path / "p", *problems), jsonl(tmp_path / "c", *candidates))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(JudgeError, match="nowhere cannot be read: No such file"):
        judge(tmp_path / "nowhere", tmp_path / "nowhere")
