"""LoRA adapters in PEFT's format: per module a pair A (rank, in) and B (out, rank) whose scaled product
B @ A is added to the base's weight. Adapters are small, so they are held in memory as float64.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpharay.merge.checkpoints.checkpoint import Checkpoint, read_json, read_shard
from alpharay.merge.combine import widen
from alpharay.merge.dtypes import FLOATS, Dtype
from alpharay.merge.errors import (
    AdapterMismatch,
    NonFinite,
    NotACheckpoint,
    PickleCheckpoint,
    UnsupportedAdapter,
)
from alpharay.merge.rounding import Float64

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
BASE = "base_model_name_or_path"
# `...q_proj.lora_A.weight`; for embeddings `...embed_tokens.lora_embedding_A`.
PART = re.compile(r"(?P<module>.+)\.lora_(?:embedding_)?(?P<part>[AB])(?P<tail>\.weight)?$")
# Initialisations that leave the base as it is; others (PiSSA, OLoRA ...) replace its weights.
PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """One module's update scaling * B @ A: A (rank, in), B (out, rank), float64, and their tensor names."""

    a: Float64
    b: Float64
    scaling: float
    a_name: str
    b_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One adapter. `modules` maps module names to their factors; `dtype` is what they were stored in."""

    path: Path
    config: dict[str, Any]
    modules: dict[str, Factors]
    dtype: Dtype
    checkpoint: Checkpoint


def is_adapter(path: Path) -> bool:
    """Whether `path` is a directory with a PEFT adapter."""
    return (path / ADAPTER_CONFIG).is_file()


def open_adapter(path: Path) -> Adapter:
    """Reads an adapter whole.

    Raises UnsupportedAdapter for kinds whose update is not linear in a scaled product (DoRA, biases, saved
    modules, initialisations that change the base), and CheckpointError as for any checkpoint.
    """
    config = read_json(path / ADAPTER_CONFIG)
    _refuse_unsupported(path, config)
    weights = path / ADAPTER_WEIGHTS
    if not weights.exists():
        if any((path / f"adapter_model{suffix}").exists() for suffix in (".bin", ".pt")):
            raise PickleCheckpoint(
                f"{path} has its adapter as a pickle, which can run code and is never loaded; "
                "save it again with PEFT, which writes safetensors"
            )
        raise NotACheckpoint(f"{path} has {ADAPTER_CONFIG} but no {ADAPTER_WEIGHTS}; save the adapter again")
    shard = read_shard(weights)
    checkpoint = Checkpoint(
        path=path, shards=(shard,), tensors={tensor.name: tensor for tensor in shard.tensors}, config=config
    )
    parts: dict[str, dict[str, tuple[str, Float64]]] = {}
    raw = weights.read_bytes()
    for tensor in shard.tensors:
        match = PART.match(tensor.name)
        if not match or not tensor.is_float:
            raise UnsupportedAdapter(
                f"{tensor.name} in {weights} is no LoRA factor; save the adapter without modules_to_save and biases"
            )
        stored = np.frombuffer(raw, FLOATS[tensor.dtype].storage, tensor.size, tensor.start)
        wide = np.empty(tensor.size)
        widen(stored, FLOATS[tensor.dtype], wide, np.empty(tensor.size, np.float32))
        if not np.isfinite(wide).all():
            raise NonFinite(f"{tensor.name} in {weights} is NaN or Inf; give an earlier adapter")
        parts.setdefault(match["module"], {})[match["part"]] = (tensor.name, wide.reshape(tensor.shape))
    modules = {module: _factors(path, config, module, pair) for module, pair in parts.items()}
    if not modules:
        raise NotACheckpoint(f"{weights} holds no tensors; save the adapter again")
    dtypes = {tensor.dtype for tensor in shard.tensors}
    # Mixed dtypes are written as the widest.
    widest = max(dtypes, key=lambda code: (FLOATS[code].itemsize, FLOATS[code].fraction_bits))
    return Adapter(path=path, config=config, modules=modules, dtype=FLOATS[widest], checkpoint=checkpoint)


def check_same_base(first: Adapter, other: Adapter, base: str | None = None) -> None:
    """Raises AdapterMismatch unless both adapt the same weights of the same base.

    base: which one that is, in the user's words; then the names under which the trainers found it do not matter.
    """
    for key, default in ((BASE, None), ("fan_in_fan_out", False), ("task_type", None)):
        if key == BASE and base is not None:
            continue
        ours, theirs = first.config.get(key) or default, other.config.get(key) or default
        if ours and theirs and ours != theirs:
            way_out = ", or say which one both have with --base" if key == BASE else ""
            raise AdapterMismatch(
                f"{ADAPTER_CONFIG}: {key} is {json.dumps(ours)} in {first.path} but {json.dumps(theirs)} in "
                f"{other.path}; give two adapters of one base{way_out}"
            )
    for module in first.modules.keys() & other.modules.keys():
        ours_factors, theirs_factors = first.modules[module], other.modules[module]
        shapes = [
            (factors.a.shape[1:], factors.b.shape[0], factors.b.shape[2:])
            for factors in (ours_factors, theirs_factors)
        ]
        if shapes[0] != shapes[1] or ours_factors.a_name != theirs_factors.a_name:
            raise AdapterMismatch(
                f"{module} adapts a weight of {_size(ours_factors)} in {first.path} but of "
                f"{_size(theirs_factors)} in {other.path}; give two adapters of one base"
            )


def _factors(
    path: Path, config: Mapping[str, Any], module: str, pair: Mapping[str, tuple[str, Float64]]
) -> Factors:
    if pair.keys() != {"A", "B"}:
        raise NotACheckpoint(f"{module} in {path} has only one of its two factors; save the adapter again")
    (a_name, a), (b_name, b) = pair["A"], pair["B"]
    rank = a.shape[0] if a.ndim > 1 else 0
    if a.ndim < 2 or b.ndim < 2 or b.shape[1] != rank:
        raise NotACheckpoint(
            f"{module} in {path} has factors of shapes {list(a.shape)} and {list(b.shape)}, which do not fit; "
            "save the adapter again"
        )
    plain = module.removeprefix("base_model.model.")
    expected = _pattern(config.get("rank_pattern"), plain, config["r"])
    if rank != expected:
        raise NotACheckpoint(
            f"{module} in {path} has rank {rank} but {ADAPTER_CONFIG} says {expected}; give the config that "
            "belongs to it"
        )
    alpha = _pattern(config.get("alpha_pattern"), plain, config["lora_alpha"])
    scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Factors(a=a, b=b, scaling=scaling, a_name=a_name, b_name=b_name)


def _pattern(patterns: Mapping[str, float] | None, module: str, default: float) -> float:
    """A value for one module, by PEFT's rule: the first pattern that ends the name at a dot."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _refuse_unsupported(path: Path, config: Mapping[str, Any]) -> None:
    def refuse(what: str) -> UnsupportedAdapter:
        return UnsupportedAdapter(
            f"{path / ADAPTER_CONFIG}: {what}, which has no exact adapter between two; "
            "merge each adapter into the base and give the two full checkpoints"
        )

    if str(config.get("peft_type", "LORA")).upper() != "LORA":
        raise refuse(f"peft_type is {config['peft_type']}")
    for key in ("use_dora", "modules_to_save", "lora_bias", "layer_replication", "alora_invocation_tokens",
                "use_qalora", "use_bdlora", "megatron_config", "trainable_token_indices"):  # fmt: skip
        if config.get(key):
            raise refuse(f"{key} is set")
    if config.get("bias", "none") != "none":
        raise refuse(f"bias is {config['bias']}")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in PLAIN_INITS:
        raise refuse(f"init_lora_weights is {init}")
    for key in ("r", "lora_alpha"):
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise NotACheckpoint(f"{path / ADAPTER_CONFIG}: {key} is {value!r}; save the adapter again")


def _size(factors: Factors) -> str:
    return f"{factors.b.shape[0]} x {math.prod(factors.a.shape[1:])}"


def product(factors: Factors) -> NDArray[np.float64]:
    """Scaling * B @ A as a matrix (out, in)."""
    b, a = factors.b.reshape(len(factors.b), -1), factors.a.reshape(len(factors.a), -1)
    return factors.scaling * (b @ a)
