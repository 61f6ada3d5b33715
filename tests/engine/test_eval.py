"""`alpharay eval` with real engines and the real judge, and an audit of what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from alpharay.serve.evaluate.outcomes import read_outcomes

pytestmark = pytest.mark.engine


def test_problems_are_sampled_judged_and_audited(tmp_path, problems):
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps(problem) + "\n" for problem in problems[:3]))
    run = tmp_path / "run"

    def alpharay(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "alpharay.serve.cli.main", *map(str, arguments)],
            env={**os.environ, "ALPHARAY_CACHE": str(tmp_path / "cache")},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip

    done = alpharay("eval", file, "--samples", 4, "--members", 0, 1, "--max-tokens", 100, "--out", run)
    assert done.returncode == 0, done.stderr
    assert "24 of 24 samples" in done.stderr
    outcomes = read_outcomes(run / "outcomes.parquet")
    assert (outcomes.counts.samples == 4).all()
    assert [member.name for member in outcomes.members] == ["frontier@0", "frontier@1"]
    assert len(set(outcomes.text_sha256.tolist())) > 6
    assert (outcomes.completion_tokens > 0).all()
    audited = alpharay("audit", run / "outcomes.parquet", "--out", run / "audit")
    assert audited.returncode == 0, audited.stderr
    assert json.loads((run / "audit/report.json").read_text())["problems"] == 3
