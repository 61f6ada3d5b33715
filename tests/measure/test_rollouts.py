"""Rollouts: whole samples to train on, each once, readable without our code."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from alpharay.judge.command import read_problems
from alpharay.judge.limits import Limits
from alpharay.judge.pool.pool import JudgePool
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.serve.cli import main
from alpharay.serve.errors import OutcomesError
from alpharay.serve.evaluate import sampling
from alpharay.serve.evaluate.journal import Journal
from alpharay.serve.evaluate.sampling import Drawn, Plan, Run
from alpharay.serve.evaluate.saving import describe
from alpharay.serve.evaluate.settings import keep_settings
from alpharay.serve.learn.rollouts import parts
from alpharay.serve.learn.rollouts.fields import ROLLOUT_SCHEMA, Saving, hashes_of_tests
from alpharay.serve.transport.asgi import Reply

RAW = [
    {
        "id": f"add{number}",
        "prompt": f"Print the sum of two numbers and {number}.",
        "tests": {
            "kind": "stdio",
            "cases": [
                {"input": "1 2", "output": str(3 + number), "level": 1},
                {"input": "5 6", "output": str(11 + number), "level": 2},
            ],
        },
    }
    for number in range(2)
]
MEMBER = Drawn(served="frontier@1", name="frontier@1", alpha=1.0, weights={"low": 0.0, "high": 1.0})
ANSWERS = [
    "Sure:\n```python\na, b = map(int, input().split())\nprint(a + b)\n```\n",
    "```python\na, b = map(int, input().split())\nprint(a + b + 1)\n```",
    "```python\nprint(3)\n```",
    "I cannot do that.",
]


class Engines:
    """Gives the answers in turn, with what vLLM adds to a chat completion on request."""

    def __init__(self):
        self.bodies = []

    async def sample(self, member, path, body, headers):
        del member, path, headers
        request = json.loads(body.whole())
        text = ANSWERS[len(self.bodies) % len(ANSWERS)]
        self.bodies.append(request)
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        answer = {"choices": [choice], "usage": {"prompt_tokens": 2, "completion_tokens": 3}}
        if request.get("return_token_ids"):
            answer["prompt_token_ids"] = [7, 8]
            choice["token_ids"] = [4, 5, 2]
        if request.get("logprobs"):
            content = [{"token": "x", "logprob": -0.5 * n, "top_logprobs": []} for n in range(3)]
            choice["logprobs"] = {"content": content}
        return Reply(200, "application/json", json.dumps(answer).encode())


class Judge:
    """The real pool behind the judge replica's interface; its first `errors` verdicts are judge errors."""

    def __init__(self, pool=None, errors=0):
        self.pool, self.errors = pool, errors

    async def judge(self, tests, completion, limits, language, group):
        if self.errors:
            self.errors -= 1
            return Verdict(VerdictKind.JUDGE_ERROR, 0, 2)
        if self.pool is None and "```" not in completion:
            return Verdict(VerdictKind.NO_PROGRAM, 0, 2)
        if self.pool is None:
            return Verdict(VerdictKind.WRONG_ANSWER, 0, 2, failed_case=1)
        return await self.pool.judge(tests, completion, limits=limits, language=language, group=group)


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(problem) + "\n" for problem in RAW))
    return path


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(sampling, "_PATIENCE_S", 0.0)


async def draw(folder, problems, *, samples=4, judge=None, logprobs=False, options=None):
    saving = Saving(tests=hashes_of_tests(problems), checkpoints={"frontier@1": "c0ffee"}, logprobs=logprobs)
    plan = Plan(
        problems=list(read_problems(problems).values()),
        members=[MEMBER],
        samples=samples,
        limits=Limits(),
        options=options or {},
        in_flight=1,
        saving=saving,
    )
    engines = Engines()
    with Journal(folder) as journal:
        await Run(plan, engines, judge or Judge(), journal).run(lambda _: None)
    return engines


def rows(folder):
    """As anybody reads them."""
    return ds.dataset(folder / "rollouts").to_table().to_pylist()


def keys(folder):
    return sorted((row["problem"], row["member"], row["sample"]) for row in rows(folder))


async def test_every_judged_sample_has_its_rollout(tmp_path, problems):
    await draw(tmp_path / "run", problems, options={"temperature": 0.8})
    rollouts = rows(tmp_path / "run")
    outcomes = pq.read_table(tmp_path / "run/outcomes.parquet").to_pylist()
    assert len(rollouts) == len(outcomes) == 8
    by_key = {(row["problem"], row["sample"]): row for row in rollouts}
    for outcome in outcomes:
        row = by_key[outcome["problem"], outcome["sample"]]
        assert {name: row[name] for name in outcome} == outcome
        assert hashlib.sha256(row["text"].encode()).hexdigest() == outcome["text_sha256"]
        raw = next(problem for problem in RAW if problem["id"] == row["problem"])
        assert row["messages"] == [{"role": "user", "content": raw["prompt"]}]
        tests = json.dumps(raw["tests"], sort_keys=True)
        assert row["tests_sha256"] == hashlib.sha256(tests.encode()).hexdigest()
        assert (row["checkpoint"], row["options"]) == ("c0ffee", '{"temperature": 0.8}')
        assert (row["finish_reason"], row["token_ids"]) == ("stop", None)
        assert row["failed_level"] == (2 if "```" in row["text"] else None)


async def test_rewards_judged_again_from_the_texts_are_equal(tmp_path, problems):
    async with JudgePool(workers=1) as pool:
        await draw(tmp_path / "run", problems, judge=Judge(pool))
    rollouts = rows(tmp_path / "run")
    assert sorted(row["reward"] for row in rollouts) == [0.0] * 6 + [1.0] * 2
    candidates = tmp_path / "candidates.jsonl"
    candidates.write_text(
        "".join(json.dumps({"id": row["problem"], "completion": row["text"]}) + "\n" for row in rollouts)
    )
    verdicts = tmp_path / "verdicts.jsonl"
    arguments = ["judge", problems, candidates, "--workers", 1, "--out", verdicts]
    assert await asyncio.to_thread(main.main, [str(argument) for argument in arguments]) == 0
    again = [json.loads(line) for line in verdicts.read_text().splitlines()]
    for row, verdict in zip(rollouts, again, strict=True):
        assert row["reward"] == (verdict["verdict"] == "accepted")
        assert [row[name] for name in ("verdict", "passed", "total")] == [
            verdict[name] for name in ("verdict", "passed", "total")
        ]


async def test_token_ids_and_logprobs_are_kept_where_asked(tmp_path, problems):
    engines = await draw(tmp_path / "run", problems, logprobs=True)
    assert all(body["logprobs"] is True and body["return_token_ids"] is True for body in engines.bodies)
    for row in rows(tmp_path / "run"):
        assert row["prompt_token_ids"] == [7, 8]
        assert row["token_ids"] == [4, 5, 2]
        assert row["logprobs"] == [0.0, -0.5, -1.0]
        assert row["options"] == "{}"  # what the model was sampled with, not what was asked of it beside that


async def test_a_later_run_adds_rows_and_none_twice(tmp_path, problems, monkeypatch):
    await draw(tmp_path / "run", problems, samples=2)
    await draw(tmp_path / "run", problems, samples=3)
    assert [path.name for path in sorted((tmp_path / "run/rollouts").iterdir())] == ["part-0000.parquet"]
    monkeypatch.setattr(parts, "_PART_BYTES", 1)
    await draw(tmp_path / "run", problems, samples=4)
    names = [path.name for path in sorted((tmp_path / "run/rollouts").iterdir())]
    assert names == ["part-0000.parquet", "part-0001.parquet"]
    assert not (await draw(tmp_path / "run", problems, samples=4)).bodies
    assert keys(tmp_path / "run") == [(p["id"], "frontier@1", n) for p in RAW for n in range(4)]


async def test_what_the_judge_failed_at_has_a_rollout_once_it_is_judged(tmp_path, problems):
    await draw(tmp_path / "run", problems, judge=Judge(errors=10_000))
    assert not (tmp_path / "run/rollouts").exists()
    await draw(tmp_path / "run", problems)
    assert len(keys(tmp_path / "run")) == len(set(keys(tmp_path / "run"))) == 8


def line(sample, verdict="accepted"):
    outcome = {
        "problem": "p", "member": "m", "alpha": None, "sample": sample, "seed": 1, "verdict": verdict,
        "failed_level": None, "passed": 1, "total": 1, "prompt_tokens": 1, "completion_tokens": 1, "cpu_s": 0.0,
        "text_sha256": "0",
    }  # fmt: skip
    rollout = {
        "checkpoint": "c", "language": "python", "messages": [{"role": "user", "content": "?"}], "text": "!",
        "options": "{}", "tests_sha256": "0", "reward": 1.0,
    }  # fmt: skip
    return {**outcome, "rollout": rollout}


@pytest.mark.parametrize("full", [1, 1 << 30], ids=["full part", "open part"])
def test_a_kill_after_the_part_and_before_the_rest_writes_no_row_twice(tmp_path, monkeypatch, full):
    monkeypatch.setattr(parts, "_PART_BYTES", full)
    with Journal(tmp_path) as journal:
        journal.add(line(0))
        journal.flush()
        written = (tmp_path / "outcomes.jsonl").read_text()
    (tmp_path / "outcomes.jsonl").write_text(written + json.dumps(line(1)) + "\n")
    with Journal(tmp_path) as journal:
        journal.add(line(2))
    assert keys(tmp_path) == [("p", "m", 0), ("p", "m", 1), ("p", "m", 2)]


def test_a_killed_process_loses_no_rollout_of_a_sample_that_counts_as_done(tmp_path):
    script = (
        "import json\nfrom pathlib import Path\nfrom alpharay.serve.evaluate.journal import Journal\n"
        f"journal = Journal(Path({str(tmp_path)!r}))\nrow = json.loads({json.dumps(line(0))!r})\n"
        "for sample in range(100000):\n    journal.add({**row, 'sample': sample})\n    journal.flush()\n"
        "    if sample % 3 == 2:\n        journal.publish()\n    print(sample, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    for _ in range(25):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with Journal(tmp_path) as journal:
        done = journal.done
    assert keys(tmp_path) == sorted(done)
    assert len(done) >= 25


def test_a_folder_keeps_rollouts_of_all_of_a_members_samples_or_of_none(tmp_path, problems):
    plain = {"checkpoint": "abc", "seed": 0, "options": {}}
    keep_settings(tmp_path, problems, {"m": plain})
    with pytest.raises(OutcomesError, match="drawn without --save-rollouts, now it is with --save-rollouts"):
        keep_settings(tmp_path, problems, {"m": {**plain, "rollouts": "texts"}})
    keep_settings(tmp_path, problems, {"label:m": {**plain, "rollouts": "logprobs"}})
    with pytest.raises(OutcomesError, match="with --save-rollouts --logprobs, now it is without"):
        keep_settings(tmp_path, problems, {"label:m": plain})


async def test_the_card_describes_every_field_and_its_examples_run(tmp_path, problems, monkeypatch):
    run = tmp_path / "run"
    await draw(run, problems, samples=8)
    settings = {"checkpoint": "c0ffee", "seed": 0, "options": {"temperature": 0.8}, "rollouts": "texts"}
    keep_settings(run, problems, {"frontier@1": settings})
    describe(run, "eval", print)
    card = (run / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    pattern = head["configs"][0]["data_files"]
    assert [path.name for path in run.glob(pattern)] == ["part-0000.parquet"]
    described = re.findall(r"^\| `(\w+)` \| \S", card, re.MULTILINE)
    assert described == ROLLOUT_SCHEMA.names
    assert "c0ffee" in card
    monkeypatch.chdir(run)
    names = {}
    for example in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        exec(example, names)
    programs = names["programs"].to_pylist()
    # Three different programs for each problem, each of them drawn twice.
    assert sorted(row["sample_count"] for row in programs) == [2] * 6


def documented(word):
    """The only example of docs/measuring.md that has this word in it."""
    page = (Path(__file__).parents[2] / "docs/measuring.md").read_text()
    (example,) = [text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if word in text]
    return example


async def test_the_documented_view_has_a_row_for_each_different_program(tmp_path, problems, monkeypatch):
    await draw(tmp_path / "run", problems, samples=8)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(documented('sample", "count'), names)
    assert sorted(row["sample_count"] for row in names["programs"].to_pylist()) == [2] * 6


async def test_the_documented_examples_for_trainers_run(tmp_path, problems, monkeypatch):
    pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")
    pandas = pytest.importorskip("pandas")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    async with JudgePool(workers=1) as pool:
        await draw(tmp_path / "run", problems, samples=8, judge=Judge(pool))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(documented("load_dataset"), names)
    assert len(names["rollouts"]) == 16
    sft = names["sft"].to_list()
    assert [row["prompt"][0]["content"] for row in sft] == [problem["prompt"] for problem in RAW]
    assert {row["completion"][0]["content"] for row in sft} == set(ANSWERS[:2])
    prompts = pandas.read_parquet("train.parquet").to_dict("records")
    assert [row["reward_model"]["ground_truth"] for row in prompts] == ["add0", "add1"]
    assert [row["prompt"][0]["role"] for row in prompts] == ["user", "user"]
    assert [row["reward"] for row in prompts] == [0.25, 0.25]


def test_a_readme_of_the_users_own_is_left_alone(tmp_path, problems):
    keep_settings(tmp_path, problems, {})
    (tmp_path / "README.md").write_text("my notes")
    messages = []
    describe(tmp_path, "eval", messages.append)
    assert "stays" in messages[0]
    assert (tmp_path / "README.md").read_text() == "my notes"


async def test_a_folder_that_an_earlier_version_began_is_added_to(tmp_path, problems):
    await draw(tmp_path / "run", problems, samples=1)
    (path,) = (tmp_path / "run/rollouts").iterdir()
    before = pq.read_table(path)
    pq.write_table(before.drop_columns(["request", "turn", "tool_runs"]), path)
    await draw(tmp_path / "run", problems, samples=2)
    assert len(keys(tmp_path / "run")) == 4


def test_half_a_surrogate_pair_does_not_end_the_run(tmp_path):
    odd = line(0)
    odd["rollout"]["text"] = "\ud800!"
    odd["rollout"]["messages"] = [{"role": "user", "content": "\udfff?"}]
    with Journal(tmp_path) as journal:
        journal.add(odd)
    (row,) = rows(tmp_path)
    assert (row["text"], row["messages"][0]["content"]) == ("?!", "??")


def test_logprobs_alone_are_wrong_usage(capsys, problems, tmp_path):
    code = main.main(["eval", str(problems), "--samples", "1", "--out", str(tmp_path / "run"), "--logprobs"])
    assert code == 2
    assert "--save-rollouts" in capsys.readouterr().err
