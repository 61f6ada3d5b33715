"""Moving a live vLLM engine to another alpha in place, from the endpoints, without a copy on disk.

    LLM("low/", load_format="alpharay", model_loader_extra_config={"high": "high/", "alpha": 0},
        worker_extension_cls="alpharay.merge.engine.shift.Shifting")
    llm.collective_rpc("shift_to", args=(1.5,)); llm.reset_prefix_cache()

The weights are always computed from the endpoints, never by a step from the present alpha, so they do not
drift: bit for bit those of an engine that started there. Requests must not be under way meanwhile, and what
was cached under the old weights (the prefix cache) is the caller's to drop.
"""

from typing import Any

from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

from alpharay.merge.engine.loader import plan_of, torch_weights


class Shifting:
    """What a vLLM worker of an engine with the load format `alpharay` can do more: its worker_extension_cls."""

    vllm_config: Any
    model_runner: Any

    def shift_to(self, alpha: float) -> None:
        """Loads theta(alpha) over the present weights; each tensor-parallel worker takes its shard.

        Raises MergeError: the endpoints cannot be read any longer. The engine is unusable then, since part
        of its weights may have moved.
        """
        config = self.vllm_config
        plan = plan_of(config.model_config, config.load_config, alpha)
        self.model_runner.reload_weights(weights_iterator=torch_weights(plan))
        for module in self.model_runner.get_model().modules():
            # On the CPU a tied head keeps a packed copy of the embedding, which reloading does not renew.
            if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)
