"""Sampling: nothing drawn twice, nothing lost, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from alpharay.judge.limits import Limits
from alpharay.judge.problem import parse_problem
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.serve.errors import OutcomesError
from alpharay.serve.evaluate import sampling
from alpharay.serve.evaluate.journal import Journal
from alpharay.serve.evaluate.outcomes import read_outcomes
from alpharay.serve.evaluate.sampling import Drawn, Plan, Run, sample_seed
from alpharay.serve.evaluate.settings import keep_settings
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.clients import JudgeUnavailable, SampleLost

PROBLEMS = [
    parse_problem(
        {
            "id": f"p{number}",
            "prompt": f"Problem {number}",
            "tests": {
                "kind": "stdio",
                "cases": [{"input": "", "output": "1", "level": 3}, {"input": "", "output": "2"}],
            },
        }
    )
    for number in range(4)
]
MEMBERS = [
    Drawn(served=f"frontier@{alpha:g}", name=f"frontier@{alpha:g}", alpha=alpha) for alpha in (0.0, 1.0)
]


class Engines:
    """Answers with its seed; `lose` draws are lost first."""

    def __init__(self, lose=0, status=200):
        self.bodies, self.under_way, self.most = [], 0, 0
        self.lose, self.status = lose, status

    async def sample(self, member, path, body, headers):
        assert (path, headers) == ("/v1/chat/completions", {})
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        request = json.loads(body.whole())
        if self.lose:
            self.lose -= 1
            raise SampleLost("it died")
        if self.status != 200:
            return Reply(self.status, "application/json", b'{"error": {"message": "too long"}}')
        self.bodies.append(request)
        answer = {
            "choices": [{"message": {"content": f"{member} {request['seed']}"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 9},
        }
        return Reply(200, "application/json", json.dumps(answer).encode())


class JudgeClient:
    def __init__(self, unavailable=0, errors=0):
        self.unavailable, self.errors = unavailable, errors

    async def judge(self, tests, completion, limits, language, group):
        assert (tests, limits, language, group) in [(p.tests, p.limits(), "python", p.id) for p in PROBLEMS]
        await asyncio.sleep(0)
        if self.unavailable:
            self.unavailable -= 1
            raise JudgeUnavailable("away")
        if self.errors:
            self.errors -= 1
            return Verdict(VerdictKind.JUDGE_ERROR, 0, 2)
        if int(completion.split()[1]) % 2:
            return Verdict(VerdictKind.ACCEPTED, 2, 2, cpu_s=0.5)
        return Verdict(VerdictKind.WRONG_ANSWER, 0, 2, failed_case=0)


def plan(samples=5, **more):
    return Plan(**{"problems": PROBLEMS, "members": MEMBERS, "samples": samples, "limits": Limits(), **more})


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """What waits before it tries again does not wait here."""
    monkeypatch.setattr(sampling, "_PATIENCE_S", 0.0)


async def run(folder, todo=None, engines=None, judging=None):
    engines = engines or Engines()
    with Journal(folder) as journal:
        sampling_run = Run(todo or plan(), engines, judging or JudgeClient(), journal)
        await sampling_run.run(lambda _: None)
    return engines


async def test_every_sample_is_drawn_judged_and_written(tmp_path):
    engines = await run(tmp_path)
    outcomes = read_outcomes(tmp_path / "outcomes.parquet")
    assert len(outcomes) == len(engines.bodies) == 4 * 2 * 5
    assert (outcomes.counts.samples == 5).all()
    assert len(set(outcomes.seed.tolist())) == 40
    rows = pq.read_table(tmp_path / "outcomes.parquet").to_pylist()
    for row in rows:
        passed = row["seed"] % 2
        assert row["verdict"] == ("accepted" if passed else "wrong_answer")
        assert row["failed_level"] == (None if passed else 3)
        assert (row["prompt_tokens"], row["completion_tokens"]) == (3, 9)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "outcomes.parquet"]


async def test_what_is_there_is_not_drawn_again_and_more_samples_are_added(tmp_path):
    await run(tmp_path)
    assert not (await run(tmp_path)).bodies
    assert len((await run(tmp_path, plan(samples=7))).bodies) == 4 * 2 * 2
    assert (read_outcomes(tmp_path / "outcomes.parquet").counts.samples == 7).all()


async def test_the_order_in_which_samples_are_drawn_changes_none_of_them(tmp_path):
    await run(tmp_path / "a")
    await run(tmp_path / "b", plan(samples=2, in_flight=1))
    await run(tmp_path / "b", plan(in_flight=3, one_by_one=True))
    first, second = ((tmp_path / name / "outcomes.parquet").read_bytes() for name in "ab")
    assert first == second


async def test_engines_are_kept_full_up_to_the_bound(tmp_path):
    engines = await run(tmp_path, plan(in_flight=6))
    assert engines.most == 12  # six of each member


async def test_members_of_a_moved_engine_come_one_after_the_other(tmp_path):
    engines = await run(tmp_path, plan(one_by_one=True))
    assert [body["model"] for body in engines.bodies] == ["frontier@0"] * 20 + ["frontier@1"] * 20


async def test_options_go_with_every_request(tmp_path):
    engines = await run(tmp_path, plan(options={"temperature": 0.7, "max_tokens": 5}))
    assert {(body["temperature"], body["max_tokens"]) for body in engines.bodies} == {(0.7, 5)}


async def test_lost_samples_and_a_judge_that_is_away_are_tried_again(tmp_path):
    await run(tmp_path, engines=Engines(lose=3), judging=JudgeClient(unavailable=2, errors=2))
    assert (read_outcomes(tmp_path / "outcomes.parquet").counts.samples == 5).all()


async def test_what_the_judge_could_not_judge_is_drawn_again_by_the_next_run(tmp_path):
    await run(tmp_path, judging=JudgeClient(errors=10_000))
    assert (read_outcomes(tmp_path / "outcomes.parquet").counts.judge_errors == 5).all()
    assert len((await run(tmp_path)).bodies) == 40
    assert (read_outcomes(tmp_path / "outcomes.parquet").counts.samples == 5).all()


async def test_a_refusal_ends_the_run_with_its_reason_and_keeps_what_was_drawn(tmp_path):
    await run(tmp_path, plan(samples=2))
    with pytest.raises(OutcomesError, match=r"frontier@\d refuses the problem 'p\d': .*too long"):
        await run(tmp_path, engines=Engines(status=400))
    assert (read_outcomes(tmp_path / "outcomes.parquet").counts.samples == 2).all()


async def test_an_engine_that_stays_away_ends_the_run(tmp_path):
    with pytest.raises(OutcomesError, match="could not be reached 5 times"):
        await run(tmp_path, engines=Engines(lose=10_000))


def test_two_runs_cannot_write_to_one_folder(tmp_path):
    with Journal(tmp_path), pytest.raises(OutcomesError, match="another process of alpharay is writing"):
        Journal(tmp_path)
    Journal(tmp_path).close()


def row(sample, **more):
    return {
        "problem": "p", "member": "m", "alpha": None, "sample": sample, "seed": 1, "verdict": "accepted",
        "failed_level": None, "passed": 1, "total": 1, "prompt_tokens": 1, "completion_tokens": 1, "cpu_s": 0.0,
        "text_sha256": "0", **more,
    }  # fmt: skip


def test_a_run_that_goes_on_is_told_of_its_samples_in_one_order(tmp_path):
    with Journal(tmp_path) as journal:
        for sample in reversed(range(50)):
            journal.add(row(sample))
    with Journal(tmp_path) as journal:
        assert list(journal.solved) == [("p", "m", sample) for sample in range(50)]


def test_a_line_that_was_cut_off_is_dropped_and_the_next_is_whole(tmp_path):
    whole = json.dumps(row(0))
    (tmp_path / "outcomes.jsonl").write_text(f"{whole}\n{whole[:40]}")
    with Journal(tmp_path) as journal:
        assert journal.done == {("p", "m", 0)}
        journal.add(row(1))
    assert read_outcomes(tmp_path / "outcomes.parquet").sample.tolist() == [0, 1]


def test_a_kill_between_the_file_and_the_journal_counts_no_row_twice(tmp_path):
    with Journal(tmp_path) as journal:
        journal.add(row(0))
    (tmp_path / "outcomes.jsonl").write_text(json.dumps(row(0)) + "\n" + json.dumps(row(1)) + "\n")
    with Journal(tmp_path) as journal:
        assert journal.done == {("p", "m", 0), ("p", "m", 1)}
    assert len(read_outcomes(tmp_path / "outcomes.parquet")) == 2


def test_a_killed_process_loses_nothing_that_was_flushed(tmp_path):
    script = (
        "import json, sys\nfrom pathlib import Path\nfrom alpharay.serve.evaluate.journal import Journal\n"
        f"journal = Journal(Path({str(tmp_path)!r}))\nrow = json.loads({json.dumps(row(0))!r})\n"
        "for sample in range(100000):\n    journal.add({**row, 'sample': sample})\n    journal.flush()\n"
        "    if sample % 7 == 6:\n        journal.publish()\n    print(sample, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    flushed = [int(process.stdout.readline()) for _ in range(25)][-1]
    os.kill(process.pid, signal.SIGKILL)
    flushed += len(process.stdout.read().split())
    process.wait()
    with Journal(tmp_path) as journal:
        assert {sample for *_, sample in journal.done} >= set(range(flushed + 1))
    samples = read_outcomes(tmp_path / "outcomes.parquet").sample.tolist()
    assert samples == list(range(len(samples)))


def test_seeds_differ_and_stay():
    seeds = {
        sample_seed(seed, problem, member, sample)
        for seed in range(2) for problem in "ab" for member in "xy" for sample in (0, 1, 4095, 4096, 9000)
    }  # fmt: skip
    assert len(seeds) == 40
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_folder_does_not_mix_what_was_measured_differently(tmp_path):
    problems = tmp_path / "problems.jsonl"
    problems.write_text("{}")
    settings = {"checkpoint": "abc", "seed": 0, "options": {}}
    keep_settings(tmp_path, problems, {"m0": settings})
    keep_settings(tmp_path, problems, {"m0": settings, "m1": settings})
    with pytest.raises(OutcomesError, match="m0 with another checkpoint"):
        keep_settings(tmp_path, problems, {"m0": {**settings, "checkpoint": "def"}})
    with pytest.raises(OutcomesError, match="m1 with another options"):
        keep_settings(tmp_path, problems, {"m1": {**settings, "options": {"temperature": 1}}})
    problems.write_text("{} ")
    with pytest.raises(OutcomesError, match="of other problems"):
        keep_settings(tmp_path, Path(problems), {"m0": settings})
