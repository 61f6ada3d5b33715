"""The CUDA build under a stand-in for NVIDIA's driver: imports, engine configurations and `doctor`; no kernel runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
HOSTINGS = ("replicas, written", "replicas, first", "replicas, second", "shift", "adapters")


@pytest.fixture(scope="module")
def dry(standin):
    command = [sys.executable, "-m", "tests.gpu.dry"]
    ended = subprocess.run(
        command, check=False, cwd=ROOT, env=standin, capture_output=True, text=True, timeout=900
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_what_the_fork_server_imports_leaves_the_driver_alone(dry):
    assert dry["driver calls of the preload"] == []


@pytest.mark.parametrize("hosting", HOSTINGS)
def test_the_engine_of_every_hosting_is_configured_for_the_gpu_with_graphs(dry, hosting):
    engine = dry["engines"][hosting]
    assert engine["device"] == "cuda"
    assert engine["graphs"] == "FULL_AND_PIECEWISE"


def test_members_that_are_merged_on_load_share_compiled_code(dry):
    first, second = dry["engines"]["replicas, first"], dry["engines"]["replicas, second"]
    assert first["loader"] == second["loader"] == "AlphaLoader"
    assert (
        first["compiled code"]
        == second["compiled code"]
        != dry["engines"]["replicas, written"]["compiled code"]
    )


def test_only_the_engine_of_several_points_moves(dry):
    assert {name: engine["moves by"] for name, engine in dry["engines"].items()} == dict.fromkeys(
        HOSTINGS
    ) | {"shift": "Mover"}


def test_only_engines_that_share_a_gpu_divide_and_measure_its_memory(dry):
    shares = {name: engine["share"] for name, engine in dry["engines"].items()}
    assert {name for name, share in shares.items() if share == pytest.approx(0.3)} == set(HOSTINGS[:3])
    assert {name for name, engine in dry["engines"].items() if engine["measured"]} == set(HOSTINGS[:3])


def test_engines_sample_without_flashinfer(dry):
    assert dry["environment"] is False


def test_the_memory_of_a_gpu_is_read_without_cuda(dry):
    assert dry["memory"] == [{"free": 85000000000, "total": 85520809984}]


def doctor(environment):
    command = [str(Path(sys.executable).with_name("alpharay")), "doctor"]
    return subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_doctor_passes_where_a_driver_answers(standin):
    ended = doctor(standin)
    assert ended.returncode == 0, ended.stdout
    assert "NVIDIA H100 80GB HBM3, 80 GiB" in ended.stdout
    assert "580.65.06" in ended.stdout


def test_doctor_names_the_driver_that_is_missing():
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    ended = doctor(None)
    assert ended.returncode == 1
    assert "no NVIDIA GPU answers" in ended.stdout
