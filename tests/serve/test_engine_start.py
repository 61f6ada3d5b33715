"""What holds before an engine takes its first request: its environment and the process it is forked from."""

import importlib
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from alpharay.serve.environment import engine_environment

SAMPLER = "VLLM_USE_FLASHINFER_SAMPLER"


def test_engines_sample_without_what_is_compiled_by_nvcc_unless_the_user_wants_it(monkeypatch):
    monkeypatch.delenv(SAMPLER, raising=False)
    assert engine_environment()[SAMPLER] == "0"
    monkeypatch.setenv(SAMPLER, "1")
    assert engine_environment()[SAMPLER] == "1"


@pytest.fixture
def preload(monkeypatch):
    """preload(initialised) imports the preload, with nothing of vLLM, where CUDA is up or not after its imports."""

    def run(*, initialised):
        imported = []
        real = importlib.import_module

        def instead(name, package=None):
            if not name.startswith("vllm"):
                return real(name, package)
            imported.append(name)
            return SimpleNamespace(current_platform=SimpleNamespace(is_cpu=lambda: False))

        torch = ModuleType("torch")
        torch.cuda = SimpleNamespace(is_initialized=lambda: initialised and bool(imported))
        monkeypatch.setitem(sys.modules, "torch", torch)
        monkeypatch.setattr(importlib, "import_module", instead)
        # What it does to its own process is for a fork server alone.
        monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(prctl=lambda *_: 0))
        monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
        monkeypatch.delitem(sys.modules, "alpharay.serve.engine.preload", raising=False)
        try:
            real("alpharay.serve.engine.preload")
        finally:
            sys.modules.pop("alpharay.serve.engine.preload", None)

    return run


def test_a_fork_server_with_cuda_up_ends_with_what_to_do(preload):
    preload(initialised=False)
    with pytest.raises(SystemExit, match=r"CUDA was initialised in the fork server.*VLLM_PLUGINS"):
        preload(initialised=True)
