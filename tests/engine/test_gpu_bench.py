"""bench/gpu, dry: what it will do on a GPU, on this machine's CPU with a small model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu.__main__ import report

ROOT = Path(__file__).parents[2]


STEPS = ("engine", "shift", "three", "rate", "adapters")


@pytest.fixture(scope="module")
def measured(alone, tmp_path_factory):
    """The rows of all steps, from one process: vLLM's imports cost more than the steps do."""
    rows = tmp_path_factory.mktemp("gpu") / "rows.jsonl"
    command = [sys.executable, "-m", "bench.gpu", *STEPS, "--dry", "--minutes", "40", "--rows", str(rows)]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=3000)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [json.loads(line) for line in rows.read_text().splitlines()]


@pytest.mark.engine
@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_the_benchmark_measures_all_its_rows(step, measured):
    own = [row for row in measured if row["step"] == step]
    assert own
    assert not [row for row in own if row["failed"]]


def row(name, *, failed=False, **values):
    return {"step": "rate", "row": name, "pair": "p", "failed": failed, "seconds": 1.0, "values": values}


def test_a_report_has_the_last_measure_of_each_row_and_names_what_failed():
    rows = [row("n", tokens_s=10.0), row("n", tokens_s=20.5), row("waves", failed=True, error="a | b")]
    lines = report([*rows, row("versions", device="H100")]).splitlines()
    assert lines[0] == "# alpharay on H100"
    assert "| rate | n | 1.0 | tokens_s 20.5 |" in lines
    assert "| rate | waves | 1.0 | **failed**: error a \\| b |" in lines
