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
    """Two endpoints, between and beyond which one engine moves; per member name its alpha. Hosting `shift`.

    dtype: what the merge rounds to, as `merge` names it (bf16, fp16, fp32). tokenizer: the endpoint that has one,
    if not low.
    allow_config: fields of config.json that may differ between the endpoints.
    """

    low: Path
    high: Path
    alphas: Mapping[str, float]
    dtype: str
    tokenizer: Path | None = None
    allow_config: tuple[str, ...] = ()


Weights = CheckpointWeights | LoraWeights | MergeOnLoadWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine: the members it answers for, never none, and its weights."""

    members: tuple[str, ...]
    weights: Weights
