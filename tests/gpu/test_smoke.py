"""On a real GPU, by `make test-gpu`: the arithmetic, and the steps of bench/gpu with the embedded frontier."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from alpharay.merge.compute.plan import read_settings
from alpharay.merge.compute.span import plan_point
from alpharay.merge.compute.theta import weights

ROOT = Path(__file__).parents[2]
EMBEDDED = Path(str(files("alpharay.serve") / "embedded"))
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not os.environ.get("ALPHARAY_GPU"), reason="needs a GPU: make test-gpu"),
]


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("storage", ["device", "pinned", "files"])
def test_a_point_that_is_formed_on_the_gpu_has_the_bits_of_the_written_merge(dtype, storage):
    import torch

    from alpharay.merge.engine.held import HeldSpan, Place

    checkpoints = {name: EMBEDDED / name for name in ("init", "low", "high")}
    settings, point = read_settings(dtype=dtype), {"init": 0.75, "low": -0.25, "high": 0.5}
    span = HeldSpan(checkpoints, settings, torch.device("cuda"))
    span.keep(Place(storage))
    plan = plan_point(checkpoints=checkpoints, weights=point, settings=settings)
    written = {weight.name: weight.data.tobytes() for weight in weights(plan)}
    formed = {
        name: tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, tensor in span.theta(point)
    }
    assert formed == written


@pytest.mark.parametrize("step", ["engine", "compile", "shift", "three", "rate", "serve", "adapters"])
def test_the_steps_of_the_benchmark_run_with_the_embedded_frontier(step, tmp_path):
    rows = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "bench.gpu", step, "--pair", "embedded", "--samples", "24"]
    ended = subprocess.run(
        [*command, "--tokens", "32", "--rows", str(rows)],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    results = [json.loads(line) for line in rows.read_text().splitlines()]
    assert results
    assert not [row for row in results if row["failed"]]
