"""`alpharay eval` with real engines and the real judge, and an audit of what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pyarrow.dataset as ds
import pytest

from alpharay.serve import config as configuration
from alpharay.serve.evaluate.outcomes import read_outcomes
from alpharay.serve.portfolio_file import read_portfolio

pytestmark = pytest.mark.engine


@pytest.fixture
def alpharay(alone, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "alpharay.serve.cli.main", *map(str, arguments)],
            # One thread: beside other work the threads of an engine wait for each other.
            env={**os.environ, "ALPHARAY_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip

    return run


def test_problems_are_sampled_judged_and_audited(alpharay, tmp_path, problems):
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps(problem) + "\n" for problem in problems[:3]))
    run = tmp_path / "run"

    options = ("--samples", 4, "--members", 0, 1, "--max-tokens", 100, "--save-rollouts", "--logprobs")
    done = alpharay("eval", file, *options, "--out", run)
    assert done.returncode == 0, done.stderr
    assert "24 of 24 samples" in done.stderr
    outcomes = read_outcomes(run / "outcomes.parquet")
    assert (outcomes.counts.samples == 4).all()
    assert [member.name for member in outcomes.members] == ["frontier@0", "frontier@1"]
    assert len(set(outcomes.text_sha256.tolist())) > 6
    assert (outcomes.completion_tokens > 0).all()
    rollouts = ds.dataset(run / "rollouts").to_table().to_pylist()
    assert len(rollouts) == 24
    for row in rollouts:
        assert len(row["prompt_token_ids"]) == row["prompt_tokens"]
        assert len(row["token_ids"]) == len(row["logprobs"]) == row["completion_tokens"]
        assert all(logprob <= 0 for logprob in row["logprobs"])
    assert (run / "README.md").exists()
    audited = alpharay("audit", run / "outcomes.parquet", "--out", run / "audit")
    assert audited.returncode == 0, audited.stderr
    assert json.loads((run / "audit/report.json").read_text())["problems"] == 3


def test_a_search_moves_one_engine_over_the_span_and_writes_a_frontier(alpharay, tmp_path, problems):
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps(problem) + "\n" for problem in problems[:8]))
    out = tmp_path / "found"
    arguments = (
        "search",
        file,
        "--checkpoints",
        "low",
        "high",
        "--k",
        "1,2",
        "--out",
        out,
        "--max-tokens",
        100,
    )
    done = alpharay(*arguments, "--samples", 160)
    assert done.returncode == 0, done.stderr
    outcomes = read_outcomes(out / "outcomes.parquet")
    assert 96 <= len(outcomes) <= 160
    assert {member.name for member in outcomes.members} >= {"frontier@0", "frontier@1", "frontier@random"}
    config = configuration.load(out / "frontier.yaml")
    members = [f"frontier@{point.name}" for point in config.points]
    assert set(read_portfolio(config.router.portfolio, members).schedule) == set(members)
    assert json.loads((out / "report.json").read_text())["samples"] == len(outcomes)
