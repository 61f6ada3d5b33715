"""Merge on load: the vLLM load format `alpharay`, so that K engines need no K copies on disk.

    LLM("low/", load_format="alpharay", model_loader_extra_config={"high": "high/", "alpha": 1.5})
    LLM("init/", load_format="alpharay", model_loader_extra_config={
        "checkpoints": {"init": "init/", "low": "low/", "high": "high/"},
        "weights": {"init": 0.75, "low": -0.25, "high": 0.5}})

starts an engine at that point, bit for bit as from the written merge. `high` may be a sparse delta. Optional:
`dtype`, `rounding`, `seed` and `allow_config` as for merge(). An engine that is to move as well: see shift.py. vLLM
finds `register` by the entry point group `vllm.general_plugins` in every one of its processes; only those import this
file.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import psutil
import torch
from vllm.config import get_current_vllm_config
from vllm.distributed.weight_transfer import WeightTransferEngineFactory
from vllm.logger import init_logger
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.base_loader import BaseModelLoader

from alpharay.merge.compute.plan import Plan, Settings, read_settings
from alpharay.merge.compute.span import line_weights, plan_point
from alpharay.merge.compute.theta import weights
from alpharay.merge.engine.held import HeldSpan, choose_place
from alpharay.merge.engine.kernel import TORCH
from alpharay.merge.errors import UsageError

log = init_logger(__name__)

FORMAT = "alpharay"
LINE, SPAN = {"high", "alpha"}, {"checkpoints", "weights"}
OPTIONAL = {"dtype", "rounding", "seed", "allow_config"}


# The span of each model that moves: its loader is gone by the time it does.
HELD: WeakKeyDictionary[torch.nn.Module, HeldSpan] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What model_loader_extra_config asks for: a point of the span of named checkpoints."""

    checkpoints: Mapping[str, Path]
    weights: Mapping[str, float]
    settings: Settings

    @property
    def plan(self) -> Plan:
        """The merge of that point. Raises MergeError."""
        return plan_point(checkpoints=self.checkpoints, weights=self.weights, settings=self.settings)


class AlphaLoader(BaseModelLoader):  # type: ignore[misc]  # vllm is not there where this is checked
    """Loads a point of the span of named checkpoints, or of the line from the model's directory (low) to `high`."""

    def download_model(self, model_config: Any) -> None:
        """Checkpoints are local directories; missing ones are refused here, before memory is taken."""
        _ = wanted(model_config, self.load_config).plan

    def load_weights(self, model: torch.nn.Module, model_config: Any) -> None:
        """Feeds the merged tensors to the model, which shards and converts them as it always does."""
        point = wanted(model_config, self.load_config)
        moving = moves(get_current_vllm_config())
        if point.settings.rounding != "nearest" and not moving:
            # Names that the model does not take over raise in its own load_weights.
            model.load_weights(torch_weights(point.plan))  # type: ignore[operator]
            return
        span = held_span(point, model)
        model.load_weights(span.theta(point.weights))  # type: ignore[operator]
        if moving:
            HELD[model] = span


def moves(config: Any) -> bool:
    """Whether an engine of that configuration (VllmConfig) is to move."""
    transfer = config.weight_transfer_config
    return transfer is not None and transfer.backend == FORMAT


def held_span(point: Wanted, model: torch.nn.Module) -> HeldSpan:
    """The checkpoints of an engine; of one that moves, kept where it has room for them. Raises MergeError.

    This is while the model is loaded: vLLM measures afterwards what is left for keys and values.
    """
    device, config = next(model.parameters()).device, get_current_vllm_config()
    span = HeldSpan(point.checkpoints, point.settings, device)
    if device.type != "cuda" or not moves(config):
        return span
    free, total = torch.cuda.mem_get_info(device)
    location = choose_place(
        span=span.nbytes,
        total=total,
        free=free,
        share=config.cache_config.gpu_memory_utilization,
        cache=config.cache_config.kv_cache_memory_bytes,
        host=psutil.virtual_memory().available,
        workers=config.parallel_config.world_size,
    )
    log.info(
        "the %d checkpoints of the span, %.1f GB, are kept: %s",
        len(point.checkpoints),
        span.nbytes / 1e9,
        location,
    )
    span.keep(location)
    return span


def wanted(model_config: Any, load_config: Any) -> Wanted:
    """What an engine of that configuration loads. Raises UsageError."""
    extra = dict(load_config.model_loader_extra_config)
    named = extra.keys() - OPTIONAL
    if named not in (LINE, SPAN):
        raise UsageError(
            f"model_loader_extra_config needs high and alpha, or checkpoints and weights, and also knows "
            f"{', '.join(sorted(OPTIONAL))}; given were {', '.join(sorted(extra)) or 'none'}"
        )
    if named == LINE:
        extra |= {
            "checkpoints": {"low": model_config.model, "high": extra["high"]},
            "weights": line_weights(extra["alpha"]),
        }
    return Wanted(
        checkpoints={name: Path(path) for name, path in extra["checkpoints"].items()},
        weights=extra["weights"],
        settings=read_settings(
            dtype=extra.get("dtype"),
            rounding=extra.get("rounding", "nearest"),
            seed=extra.get("seed", 0),
            allow_config=extra.get("allow_config", ()),
        ),
    )


def torch_weights(plan: Plan) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of the plan's only output as (name, tensor), as vLLM's models take them. Raises MergeError."""
    for weight in weights(plan):
        flat = torch.from_numpy(weight.data).view(TORCH[weight.dtype])
        yield weight.name, flat.reshape(weight.shape)


def register() -> None:
    """Makes the load format, and moving, known to this process; vLLM calls it."""
    register_model_loader(FORMAT)(AlphaLoader)
    with suppress(ValueError):  # it is registered already
        WeightTransferEngineFactory.register_engine(FORMAT, "alpharay.merge.engine.shift", "Mover")
