"""bench/gpu.py, dry: what it will do on a GPU, on this machine's CPU with few samples."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]


def test_every_way_to_an_alpha_says_the_same_and_every_hosting_is_measured(tmp_path):
    command = [sys.executable, "-m", "bench.gpu", "--tiny", "--out", str(tmp_path / "gpu.md")]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr[-3000:]
    report = (tmp_path / "gpu.md").read_text()
    assert "the engines said the same" in report, report
    hostings = re.findall(r"^\| (plain vLLM|replicas|shift|adapters)\b.* \| \d+ \(", report, re.MULTILINE)
    assert hostings == ["plain vLLM", "replicas", "shift", "adapters"]
    assert "its figures mean nothing" in report
