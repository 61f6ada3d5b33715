"""Merge on load: the vLLM load format `alpharay`, so that K engines need no K copies on disk.

    LLM("low/", load_format="alpharay", model_loader_extra_config={"high": "high/", "alpha": 1.5})
    LLM("init/", load_format="alpharay", model_loader_extra_config={
        "checkpoints": {"init": "init/", "low": "low/", "high": "high/"},
        "weights": {"init": 0.75, "low": -0.25, "high": 0.5}})

starts an engine at that point, bit for bit as from the written merge. `high` may be a sparse delta. Optional:
`dtype`, `rounding`, `seed` and `allow_config` as for merge(). vLLM finds `register` by the entry point group
`vllm.general_plugins` in every one of its processes; only those import this file.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.base_loader import BaseModelLoader

from alpharay.merge.compute.plan import Plan, read_settings
from alpharay.merge.compute.span import line_weights, plan_point
from alpharay.merge.compute.theta import weights
from alpharay.merge.errors import UsageError

FORMAT = "alpharay"
TORCH = {
    "BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64,
    "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
LINE, SPAN = {"high", "alpha"}, {"checkpoints", "weights"}
OPTIONAL = {"dtype", "rounding", "seed", "allow_config"}


class AlphaLoader(BaseModelLoader):  # type: ignore[misc]  # vllm is not there where this is checked
    """Loads a point of the span of named checkpoints, or of the line from the model's directory (low) to `high`."""

    def download_model(self, model_config: Any) -> None:
        """Checkpoints are local directories; missing ones are refused here, before memory is taken."""
        plan_of(model_config, self.load_config)

    def load_weights(self, model: torch.nn.Module, model_config: Any) -> None:
        """Feeds the merged tensors to the model, which shards and converts them as it always does."""
        plan = plan_of(model_config, self.load_config)
        # Names that the model does not take over raise in its own load_weights.
        model.load_weights(torch_weights(plan))  # type: ignore[operator]


def plan_of(model_config: Any, load_config: Any, point: float | Mapping[str, float] | None = None) -> Plan:
    """What an engine of that configuration loads; at another alpha, or other weights, where given. Raises MergeError."""
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
            "weights": extra["alpha"],
        }
    weights = extra["weights"] if point is None else point
    return plan_point(
        checkpoints={name: Path(path) for name, path in extra["checkpoints"].items()},
        weights=weights if isinstance(weights, Mapping) else line_weights(weights),
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
    """Makes the load format known to this process; vLLM calls it."""
    register_model_loader(FORMAT)(AlphaLoader)
