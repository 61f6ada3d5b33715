"""Which engine answers for which members, and from what weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWeights:
    """One member's own checkpoint: hosting `replicas`."""

    checkpoint: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraWeights:
    """One base, and per member name a LoRA adapter: all members in one batch. Hosting `adapters`.

    max_rank: the largest rank among the adapters.
    """

    base: Path
    adapters: Mapping[str, Path]
    max_rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOnLoadWeights:
    """Checkpoints by name, of which an engine computes a point of their affine span.

    With one point while it starts: hosting `replicas`, merged on load. With several it moves among them: hosting `shift`.

    points: per member name the weights of the checkpoints. dtype: what the merge rounds to, as `merge` names it (bf16,
    fp16, fp32). tokenizer: the checkpoint that has one, if not the first. allow_config: fields of config.json that may
    differ between the checkpoints.
    """

    checkpoints: Mapping[str, Path]
    points: Mapping[str, Mapping[str, float]]
    dtype: str
    tokenizer: Path | None = None
    allow_config: tuple[str, ...] = ()


Weights = CheckpointWeights | LoraWeights | MergeOnLoadWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine: the members it answers for, never none, and its weights."""

    members: tuple[str, ...]
    weights: Weights

    @property
    def moves(self) -> bool:
        """Whether the engine holds the weights of one of its members at a time."""
        return isinstance(self.weights, MergeOnLoadWeights) and len(self.members) > 1
