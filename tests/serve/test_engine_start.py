"""What holds before an engine takes its first request: its environment, the process it is forked from, its turn, a sample."""

import asyncio
import importlib
import json
import math
import os
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from alpharay.serve.cluster.prepare import float16_advice
from alpharay.serve.config import Config
from alpharay.serve.config import Engine as EngineConfig
from alpharay.serve.engine.first_sample import draw_first_sample
from alpharay.serve.engine.gpu_memory import GpuMemory, start_engines, until_free
from alpharay.serve.engine.worker import Measuring
from alpharay.serve.environment import engine_environment
from alpharay.serve.errors import StartFailed
from alpharay.serve.state.engine_spec import CheckpointWeights, EngineSpec, MergeOnLoadWeights

SAMPLER = "VLLM_USE_FLASHINFER_SAMPLER"


def test_engines_sample_without_what_is_compiled_by_nvcc_unless_the_user_wants_it(monkeypatch):
    monkeypatch.delenv(SAMPLER, raising=False)
    assert engine_environment()[SAMPLER] == "0"
    monkeypatch.setenv(SAMPLER, "1")
    assert engine_environment()[SAMPLER] == "1"


@pytest.fixture
def preload(monkeypatch):
    """preload(initialised) imports the preload, with nothing of vLLM, where CUDA is up or not after its imports.

    context: what cuCtxGetCurrent of the driver returns; None where it is not loaded.
    """

    def run(*, initialised, context=None):
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

        def library(name, mode=None):
            if name is None:
                return SimpleNamespace(prctl=lambda *_: 0)
            assert mode == os.RTLD_NOLOAD | os.RTLD_LAZY, "it would load the driver"
            if context is None:
                raise OSError(name)
            return SimpleNamespace(cuCtxGetCurrent=lambda _: context)

        # What it does to its own process is for a fork server alone.
        monkeypatch.setattr("ctypes.CDLL", library)
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


@pytest.mark.parametrize(("context", "warned"), [(None, False), (3, False), (0, True), (201, True)])
def test_a_driver_that_is_up_before_the_fork_is_warned_of(preload, capsys, context, warned):
    preload(initialised=False, context=context)
    assert ("CUDA's driver was initialised in the fork server" in capsys.readouterr().err) is warned


class Engine:
    """events: what every engine of a test did, in order."""

    def __init__(self, name, events):
        self.name, self.events, self.reserved = name, events, None

    async def start(self):
        self.events.append(f"{self.name} starts with {self.reserved}")
        await asyncio.sleep(0)
        self.events.append(f"{self.name} is up")

    async def cache_bytes(self):
        self.events.append(f"{self.name} tells")
        return 700

    def reserve_cache(self, size):
        self.reserved = size


async def test_engines_on_one_gpu_start_one_after_another_with_what_the_first_measured():
    events = []
    engines = [Engine(name, events) for name in "abc"]
    await start_engines(engines, on_one_gpu=True)
    assert events == [
        "a starts with None", "a is up", "a tells", "b starts with 700", "b is up", "c starts with 700", "c is up",
    ]  # fmt: skip
    assert engines[0].reserved == 700  # for when it is started again, beside the others


async def test_engines_elsewhere_start_side_by_side():
    events = []
    await start_engines([Engine(name, events) for name in "ab"], on_one_gpu=False)
    assert events[:2] == ["a starts with None", "b starts with None"]
    assert "a tells" not in events


@pytest.mark.parametrize(("configured", "size"), [(None, 500), (300, 300)])
def test_a_worker_tells_the_cache_that_it_was_given_or_else_measured(configured, size):
    worker = Measuring()
    worker.cache_config = SimpleNamespace(kv_cache_memory_bytes=configured)
    worker.available_kv_cache_memory_bytes = 500
    assert worker.alpharay_cache_bytes() == size


def application(status, body, requests):
    """An ASGI application that sends this response and records each request in `requests`."""

    async def app(scope, receive, send):
        requests.append((scope["path"], json.loads((await receive())["body"])))
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        await send({"type": "http.response.body", "body": body.encode()})

    return app


def drawn(*logprobs):
    return json.dumps({"choices": [{"logprobs": {"token_logprobs": logprobs}}]})


async def test_the_first_sample_asks_for_all_that_is_compiled_at_first_use():
    requests = []
    await draw_first_sample(application(200, drawn(-0.5, -1.5), requests), "m@0")
    ((path, body),) = requests
    assert path == "/v1/completions"
    assert body["model"] == "m@0"
    assert {"seed", "top_p", "top_k", "logprobs"} <= set(body)
    assert body["max_tokens"] <= 4


@pytest.mark.parametrize("logprobs", [(-0.5, math.nan), (None, -0.5), (-math.inf,), ()])
async def test_a_first_sample_without_numbers_ends_the_start(logprobs):
    with pytest.raises(StartFailed, match=r"m@0: the log-probabilities .* are not numbers .*engine.dtype"):
        await draw_first_sample(application(200, drawn(*logprobs), []), "m@0")


async def test_a_first_sample_that_is_refused_ends_the_start_with_what_the_engine_said():
    with pytest.raises(StartFailed, match=r"m@0: the engine's first sample came to status 500: no kernel"):
        await draw_first_sample(application(500, "no kernel", []), "m@0")


@pytest.fixture
def arguments(monkeypatch, tmp_path):
    """arguments(gpu=, **engine section) are vLLM's for one of several members, on a GPU or on the CPU."""
    vllm_engine = pytest.importorskip("alpharay.serve.engine.vllm_engine")

    def of(*, gpu, spec=None, **section):
        monkeypatch.setattr(vllm_engine, "current_platform", SimpleNamespace(is_cpu=lambda: not gpu))
        spec = spec or EngineSpec(members=("m@0",), weights=CheckpointWeights(checkpoint=tmp_path))
        return vllm_engine.VllmEngine(spec, EngineConfig(**section))

    return of


@pytest.mark.engine  # it imports vLLM
def test_an_engine_beside_others_on_a_gpu_takes_its_share_and_reserves_what_it_is_told(arguments):
    engine = arguments(gpu=True, members_per_replica=3)
    assert engine._arguments.gpu_memory_utilization == pytest.approx(0.3)
    assert engine._arguments.worker_extension_cls == "alpharay.serve.engine.worker.Measuring"
    assert engine._arguments.kv_cache_memory_bytes is None
    engine.reserve_cache(700)
    assert engine._arguments.kv_cache_memory_bytes == 700


@pytest.mark.engine
def test_what_the_user_reserves_for_the_cache_stays(arguments):
    engine = arguments(gpu=True, members_per_replica=3, extra={"kv_cache_memory_bytes": 300})
    engine.reserve_cache(700)
    assert engine._arguments.kv_cache_memory_bytes == 300


@pytest.mark.engine
@pytest.mark.parametrize(("gpu", "members"), [(False, 3), (True, 1)])
def test_an_engine_on_the_cpu_or_alone_on_its_gpu_is_not_asked_for_its_cache(arguments, gpu, members):
    assert not arguments(gpu=gpu, members_per_replica=members)._arguments.worker_extension_cls


def of_the_line(*alphas):
    points = {f"m@{alpha}": {"low": 1.0 - alpha, "high": alpha} for alpha in alphas}
    weights = MergeOnLoadWeights(
        checkpoints={"low": Path("/low"), "high": Path("/high")}, points=points, dtype="bf16"
    )
    return EngineSpec(members=tuple(points), weights=weights)


@pytest.mark.engine
def test_members_that_are_merged_on_load_share_the_folder_by_which_compiled_code_is_known(arguments):
    ends = [arguments(gpu=True, spec=of_the_line(alpha), members_per_replica=2) for alpha in (0.0, 1.5)]
    assert {engine._arguments.model for engine in ends} == {"/low"}
    assert [engine._arguments.model_loader_extra_config["weights"] for engine in ends] == [
        {"low": 1.0, "high": 0.0}, {"low": -0.5, "high": 1.5}
    ]  # fmt: skip
    assert ends[0]._arguments.gpu_memory_utilization == pytest.approx(0.45)
    assert ends[0]._arguments.weight_transfer_config is None


@pytest.mark.engine
def test_an_engine_of_several_points_moves_by_the_weight_transfer_engine(arguments):
    assert arguments(gpu=True, spec=of_the_line(0.0, 1.5))._arguments.weight_transfer_config == {
        "backend": "alpharay"
    }


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text", "glm4"])
def test_a_model_that_overflows_float16_is_advised_another_dtype_at_start(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    ends = {"low": tmp_path, "high": tmp_path}
    (line,) = float16_advice(Config.model_validate({"endpoints": ends, "engine": {"dtype": "float16"}}))
    assert kind in line
    assert "engine.dtype" in line
    assert float16_advice(Config.model_validate({"endpoints": ends, "engine": {"dtype": "bfloat16"}})) == []


@pytest.mark.parametrize("text", ['{"model_type": "llama"}', "[]", "no JSON", None])
def test_other_models_are_served_in_float16_without_advice(tmp_path, text):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    ends = {"low": tmp_path, "high": tmp_path}
    assert float16_advice(Config.model_validate({"endpoints": ends, "engine": {"dtype": "float16"}})) == []


GB = 10**9


def freed_after(seconds, *, total=80 * GB, share_free=0.2):
    """read() is a GPU whose memory becomes free so many seconds from now."""
    loop = asyncio.get_running_loop()
    free_at = loop.time() + seconds

    def read():
        free = total if loop.time() >= free_at else int(share_free * total)
        return [GpuMemory(free=free, total=total)]

    return read


async def test_an_engine_waits_until_the_dead_one_has_given_back_its_memory(caplog):
    loop = asyncio.get_running_loop()
    began = loop.time()
    await until_free("m@0", freed_after(7), 0.9)
    assert 7 <= loop.time() - began < 8
    (line,) = caplog.messages
    assert line == (
        "the engine of m@0 waits up to 60 s for memory of its GPU: free are 16.0 of 80.0 GB, wanted are 90 %"
    )


async def test_an_engine_does_not_wait_where_memory_is_free(caplog):
    began = asyncio.get_running_loop().time()
    await until_free("m@0", freed_after(0), 0.9)
    await until_free(
        "m@0", freed_after(1e5, share_free=0.5), 0.45
    )  # its share of a GPU that it has with others
    assert asyncio.get_running_loop().time() == began
    assert not caplog.messages


async def test_an_engine_whose_memory_never_comes_starts_after_a_minute_and_says_so(caplog):
    began = asyncio.get_running_loop().time()
    await until_free("m@0", freed_after(1e5), 0.9)
    assert 60 <= asyncio.get_running_loop().time() - began < 61
    assert re.search(r"after 60 s the engine of m@0 starts with less memory.*nvidia-smi", caplog.messages[-1])


async def test_a_driver_that_tells_nothing_keeps_no_engine_from_its_start(caplog):
    def read():
        raise OSError("no libnvidia-ml")

    await until_free("m@0", read, 0.9)
    assert "no libnvidia-ml" in caplog.text
