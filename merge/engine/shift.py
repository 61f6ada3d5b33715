"""Moving a live vLLM engine to another point of the span in place, from the checkpoints, without a copy on disk.

    LLM("low/", load_format="alpharay", model_loader_extra_config={"high": "high/", "alpha": 0},
        worker_extension_cls="alpharay.merge.engine.shift.Shifting")
    llm.collective_rpc("shift_to", args=(1.5,)); llm.reset_prefix_cache()

With `checkpoints` and `weights` in place of `high` and `alpha`, `shift_to` takes weights: any point of the span. The
weights are always computed from the named checkpoints, never by a step from the present point, so they do not
drift: bit for bit those of an engine that started there. Requests must not be under way meanwhile, and what
was cached under the old weights (the prefix cache) is the caller's to drop.
"""

from collections.abc import Mapping
from typing import Any

from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

from alpharay.merge.engine.loader import plan_of, torch_weights


class Shifting:
    """What a vLLM worker of an engine with the load format `alpharay` can do more: its worker_extension_cls."""

    vllm_config: Any
    model_runner: Any

    def shift_to(self, point: float | Mapping[str, float]) -> None:
        """Loads a point over the present weights: an alpha, or weights by checkpoint.

        Each tensor-parallel worker takes its shard. Raises MergeError: the checkpoints cannot be read any longer. The
        engine is unusable then, since part of its weights may have moved.
        """
        config = self.vllm_config
        plan = plan_of(config.model_config, config.load_config, point)
        self.model_runner.reload_weights(weights_iterator=torch_weights(plan))
        for module in self.model_runner.get_model().modules():
            # On the CPU a tied head keeps a packed copy of the embedding, which reloading does not renew.
            if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)
