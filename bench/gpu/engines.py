"""Engines as a replica starts them, in this process: without Ray, HTTP and judge."""

from __future__ import annotations

import asyncio
import json
import multiprocessing.forkserver
import os
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alpharay.merge.compute.span import line_weights
from alpharay.serve.config import Engine as EngineConfig
from alpharay.serve.dialects.api_request import EngineBody
from alpharay.serve.engine.gpu_memory import start_engines
from alpharay.serve.environment import cpu_environment, engine_build, engine_environment
from alpharay.serve.state.engine_spec import EngineSpec, LoraWeights, MergeOnLoadWeights
from bench.gpu.pairs import Pair

ALPHAS = (-0.5, 0.5, 1.5)
PROMPTS = [[3 + (7 * number + 5 * index) % 1400 for index in range(24)] for number in range(4)]


def on_gpu() -> bool:
    """Whether this environment's engines run on one."""
    return engine_build() == "vllm"


def prepare_environment(caches: Path | None = None) -> None:
    """What alpharay sets for its replicas, before vLLM is imported. caches: where compiled code goes, instead of home."""
    wanted = engine_environment()
    if not on_gpu():
        wanted |= cpu_environment(len(os.sched_getaffinity(0)), len(ALPHAS))
    if caches is not None:
        names = {
            "VLLM_CACHE_ROOT": "vllm",
            "TRITON_CACHE_DIR": "triton",
            "TORCHINDUCTOR_CACHE_DIR": "inductor",
        }
        wanted |= {name: str(caches / folder) for name, folder in names.items()}
    os.environ.update(wanted)
    multiprocessing.forkserver.set_forkserver_preload(["alpharay.serve.engine.preload"])
    multiprocessing.forkserver.ensure_running()


def member(alpha: float) -> str:
    return f"frontier@{alpha:g}"


def computed(pair: Pair, *alphas: float) -> EngineSpec:
    """One engine that is merged on load, and moves where there are several alphas."""
    weights = MergeOnLoadWeights(
        checkpoints={"low": pair.low, "high": pair.high},
        points={member(alpha): line_weights(alpha) for alpha in alphas},
        dtype=pair.merged_dtype,
    )
    return EngineSpec(members=tuple(map(member, alphas)), weights=weights)


def adapted(pair: Pair, adapters: dict[str, Path]) -> EngineSpec:
    return EngineSpec(
        members=tuple(adapters),
        weights=LoraWeights(base=pair.base, adapters=adapters, max_rank=2 * pair.rank),
    )


@asynccontextmanager
async def engines(pair: Pair, specs: Sequence[EngineSpec]) -> AsyncIterator[list[Any]]:
    """The engine specs' engines, started as a replica starts them."""
    from alpharay.serve.engine.vllm_engine import VllmEngine

    extra: dict[str, Any] = {"max_num_seqs": 256}
    if pair.cache is not None:
        extra["kv_cache_memory_bytes"] = pair.cache // len(specs)
    config = EngineConfig(dtype=pair.dtype, max_model_len=512, members_per_replica=len(specs), extra=extra)  # type: ignore[arg-type]
    started = [VllmEngine(spec, config) for spec in specs]
    try:
        await start_engines(started, on_one_gpu=on_gpu() and len(specs) > 1)
        yield started
    finally:
        await asyncio.gather(*(engine.stop() for engine in started))


async def complete(
    engine: Any, name: str, prompt: list[int], tokens: int, **fields: Any
) -> list[dict[str, Any]]:
    """The choices of one completion, always of so many tokens. Raises RuntimeError: it was refused."""
    own = {"model": name, "seed": fields.pop("seed", None)}
    body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 1, **fields}
    reply = await engine.sample(name, "/v1/completions", EngineBody(json.dumps(body), own), {})
    if reply.status != 200:
        raise RuntimeError(f"{name}: the engine answered {reply.status}: {reply.body[:500]!r}")
    choices: list[dict[str, Any]] = json.loads(reply.body)["choices"]
    return choices


async def answers_of(engine: Any, name: str, tokens: int) -> list[Any]:
    """One after the other, so that nothing else is in the batch: per prompt the text and its log-probabilities."""
    answers = []
    for seed, prompt in enumerate(PROMPTS):
        (choice,) = await complete(engine, name, prompt, tokens, seed=seed, logprobs=1)
        answers.append([choice["text"], choice["logprobs"]["token_logprobs"]])
    return answers


async def one_token(engine: Any, name: str) -> float:
    """Seconds."""
    started = time.monotonic()
    await complete(engine, name, PROMPTS[0], 1, seed=0)
    return time.monotonic() - started


def memory() -> float:
    """GiB in use: of the GPU, all of it; without one, of this process's children (proportional)."""
    if on_gpu():
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return int(output.split()[0]) / 1024
    import psutil

    children = psutil.Process().children(recursive=True)
    return float(sum(child.memory_full_info().pss for child in children) / 2**30)
