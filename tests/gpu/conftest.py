"""With vLLM's CUDA build alone: `make env ENGINE=gpu`. The CPU build has nothing that these tests could show."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from alpharay.serve.environment import engine_build

STANDIN = Path(__file__).parent / "standin"


@pytest.fixture(autouse=True, scope="session")
def cuda_build():
    if engine_build() != "vllm":
        pytest.skip("needs the CUDA build of vLLM: make env ENGINE=gpu")


@pytest.fixture(scope="session")
def standin(tmp_path_factory) -> dict[str, str]:
    """The environment of a process for which a driver stands in that claims one H100. FAKE_CUDA_LOG: its calls."""
    compiler = shutil.which("gcc") or pytest.skip("needs gcc, as Triton does")
    folder = tmp_path_factory.mktemp("driver")
    for source, library in (("cuda.c", "libcuda.so.1"), ("nvml.c", "libnvidia-ml.so.1")):
        command = [compiler, "-shared", "-fPIC", "-o", str(folder / library), str(STANDIN / source), "-ldl"]
        subprocess.run(command, check=True, timeout=60)
    shutil.copy(STANDIN / "nvidia-smi", folder)
    (folder / "calls").touch()
    return os.environ | {
        "LD_LIBRARY_PATH": str(folder),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "FAKE_CUDA_LOG": str(folder / "calls"),
        "OMP_NUM_THREADS": "1",
    }
