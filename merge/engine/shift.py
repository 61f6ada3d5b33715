"""Moving a live vLLM engine to another point of the span in place, without a copy on disk.

    llm = LLM("low/", load_format="alpharay", model_loader_extra_config={"high": "high/", "alpha": 0},
              weight_transfer_config={"backend": "alpharay"})
    llm.init_weight_transfer_engine({"init_info": {}})
    llm.start_weight_update(); llm.update_weights({"update_info": {"alpha": 1.5}}); llm.finish_weight_update()
    llm.reset_prefix_cache()

With `checkpoints` and `weights` in place of `high` and `alpha` the update takes `weights`: any point of the span. The
weights are always computed from the named checkpoints, never by a step from the present point, so they do not
drift: bit for bit those of an engine that started there. Requests must not be under way meanwhile, and what
was cached under the old weights (the prefix cache) is the caller's to drop.

This is vLLM's interface for weights that come from a trainer. It sets vLLM's configuration context, without which
layers that are made anew while they load do not know theirs, and copies into the parameters that CUDA graphs know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from alpharay.merge.compute.span import line_weights
from alpharay.merge.engine.held import HeldSpan
from alpharay.merge.engine.loader import FORMAT, HELD
from alpharay.merge.errors import UsageError


@dataclass
class Begin(WeightTransferInitInfo):  # type: ignore[misc]  # vllm is not there where this is checked
    """Nothing is agreed on: the checkpoints are those that the engine was started with."""


@dataclass
class MoveTo(WeightTransferUpdateInfo):  # type: ignore[misc]  # vllm is not there where this is checked
    """A point, by its weights or by its alpha on the line low..high."""

    weights: Mapping[str, float] | None = None
    alpha: float | None = None


def check_movable(model_config: Any) -> None:
    """Raises UsageError: the model keeps weights that are derived from its parameters, and moving was not tried on it."""
    if model_config.quantization is not None:
        kind = f"quantised ({model_config.quantization})"
    elif model_config.use_mla:
        kind = "a model with multi-head latent attention (MLA)"
    else:
        return
    raise UsageError(
        f"{model_config.model} is {kind}, whose weights an engine does not move: it computes with others, derived from "
        "them when they were loaded; set hosting: replicas"
    )


class Mover(WeightTransferEngine):  # type: ignore[misc]  # vllm is not there where this is checked
    """The points of one span as updates of the weights. Each tensor-parallel worker takes its shard."""

    init_info_cls = Begin
    update_info_cls = MoveTo
    supports_draft_weight_update = False

    model: torch.nn.Module
    model_config: Any

    def init_transfer_engine(self, init_info: Begin) -> None:  # noqa: ARG002  # vLLM's interface
        """Raises UsageError: the engine was not loaded as one that moves, or its model cannot be moved."""
        check_movable(self.model_config)
        self._span()

    def start_weight_update(self) -> None:
        """Raises UsageError like init_transfer_engine, before anything has moved."""
        self.init_transfer_engine(Begin())
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Loads a point over the present weights; returns when it has arrived.

        Raises MergeError: the point is none of the span, or its checkpoints cannot be read any longer. The engine is
        unusable then, since part of its weights may have moved.
        """
        # The base class waits for the accelerator, and there is none on the CPU build.
        self.receive_weights(self.parse_update_info(update_info))
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: MoveTo) -> None:
        """See update_weights."""
        if (update_info.weights is None) == (update_info.alpha is None):
            raise UsageError("a move takes either weights or alpha")
        weights = line_weights(update_info.alpha) if update_info.alpha is not None else update_info.weights
        assert weights is not None
        self.model.load_weights(self._span().theta(weights))  # type: ignore[operator]

    def finish_weight_update(self) -> None:
        """Puts what was loaded into the places that kernels and CUDA graphs read."""
        finalize_layerwise_reload(self.model, self.model_config)
        for module in self.model.modules():
            # On the CPU a tied head keeps a packed copy of the embedding, which reloading does not renew.
            if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)

    def shutdown(self) -> None:
        """Lets the checkpoints go."""
        HELD.pop(self.model, None)

    def _span(self) -> HeldSpan:
        try:
            return HELD[self.model]
        except KeyError:
            raise UsageError(
                f"this engine holds no checkpoints to move between; start it with load_format {FORMAT!r} and "
                f"weight_transfer_config {{'backend': {FORMAT!r}}}"
            ) from None
