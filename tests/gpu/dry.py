"""What test_dry.py looks at: engine configurations, as a replica on a GPU makes them. Printed as one line of JSON.

One process for all of it, since vLLM's imports take most of the time.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from alpharay.serve.config import Engine
from alpharay.serve.environment import engine_environment
from alpharay.serve.state.engine_spec import CheckpointWeights, EngineSpec, LoraWeights, MergeOnLoadWeights

EMBEDDED = Path(str(files("alpharay.serve") / "embedded"))
POINTS = {"f@0": {"low": 1.0, "high": 0.0}, "f@1.5": {"low": -0.5, "high": 1.5}}


def main() -> None:
    os.environ.update(engine_environment())
    # First, as in the fork server: what it imports must leave the driver alone, and the imports after it need not.
    importlib.import_module("alpharay.serve.engine.preload")
    seen = {"driver calls of the preload": Path(os.environ["FAKE_CUDA_LOG"]).read_text().splitlines()}
    for module in ("vllm.compilation.backends", "flashinfer"):
        importlib.import_module(module)
    configured = {name: _configured(spec) for name, spec in _specs().items()}
    print(json.dumps(seen | {"environment": _sampler(), "memory": _memory(), "engines": configured}))


def _specs() -> dict[str, EngineSpec]:
    def computed(*members: str) -> EngineSpec:
        points = {member: POINTS[member] for member in members}
        ends = {"low": EMBEDDED / "low", "high": EMBEDDED / "high"}
        return EngineSpec(
            members=members, weights=MergeOnLoadWeights(checkpoints=ends, points=points, dtype="bf16")
        )

    adapters = dict.fromkeys(POINTS, EMBEDDED / "lora_low")
    return {
        "replicas, written": EngineSpec(
            members=("f@1",), weights=CheckpointWeights(checkpoint=EMBEDDED / "high")
        ),
        "replicas, first": computed("f@0"),
        "replicas, second": computed("f@1.5"),
        "shift": computed(*POINTS),
        "adapters": EngineSpec(
            members=tuple(POINTS),
            weights=LoraWeights(base=EMBEDDED / "init", adapters=adapters, max_rank=16),
        ),
    }


def _configured(spec: EngineSpec) -> dict[str, Any]:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.model_executor.model_loader import get_model_loader
    from vllm.usage.usage_lib import UsageContext

    from alpharay.serve.engine.vllm_engine import VllmEngine

    engine = VllmEngine(spec, Engine(max_model_len=512, members_per_replica=3))
    arguments = AsyncEngineArgs.from_cli_args(engine._arguments)
    config = arguments.create_engine_config(UsageContext.OPENAI_API_SERVER)
    return {
        "device": str(config.device_config.device),
        "graphs": config.compilation_config.cudagraph_mode.name,
        "compiled code": config.compute_hash(),
        "loader": type(get_model_loader(config.load_config)).__name__,
        "moves by": _mover(config),
        "share": config.cache_config.gpu_memory_utilization,
        "measured": config.parallel_config.worker_extension_cls,
    }


def _mover(config: Any) -> str | None:
    if config.weight_transfer_config is None:
        return None
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory

    return WeightTransferEngineFactory._registry[config.weight_transfer_config.backend]().__name__


def _sampler() -> bool:
    from vllm import envs

    return bool(envs.VLLM_USE_FLASHINFER_SAMPLER)


def _memory() -> list[dict[str, int]]:
    from alpharay.serve.engine.vllm_engine import _gpu_memory

    return [dataclasses.asdict(gpu) for gpu in _gpu_memory(1)]


if __name__ == "__main__":
    main()
