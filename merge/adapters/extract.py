"""A LoRA adapter from two full checkpoints: the best low-rank fit to high - low, and how good it is.

The deltas of reinforcement learning are nearly full-rank, so a small share of their energy (squared
Frobenius norm) in a low rank is the expected finding, and it is reported rather than hidden.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alpharay.merge.adapters.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Factors
from alpharay.merge.adapters.write import adapter_config, store
from alpharay.merge.checkpoints.checkpoint import Tensor, open_checkpoint
from alpharay.merge.checkpoints.compatible import check_compatible
from alpharay.merge.checkpoints.inputs import Inputs
from alpharay.merge.combine import widen
from alpharay.merge.compute.plan import read_settings
from alpharay.merge.dtypes import FLOATS
from alpharay.merge.errors import NonFinite, TargetExists, UsageError
from alpharay.merge.rounding import Float64
from alpharay.merge.write.journal import clear
from alpharay.merge.write.target import check_target, partial_directory, publish, write_file

# Matrices up to this many rows or columns are decomposed exactly, larger ones by random projection.
EXACT = 512
OVERSAMPLE = 16
POWER_ITERATIONS = 3
ENOUGH = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractedAdapter:
    """An adapter that was written. energy: the share of the whole delta's that it keeps.

    kinds: by kind of tensor (q_proj, embed_tokens, norm ...) its share of the delta's energy, and how much
    of that is kept. warning: for the user, when too little is kept to stand for HIGH.
    """

    out: Path
    rank: int
    energy: float
    kinds: dict[str, tuple[float, float]]
    warning: str | None


def extract_lora(
    *,
    low: Path,
    high: Path,
    rank: int,
    out: Path,
    dtype: str | None = None,
    seed: int = 0,
    allow_config: Sequence[str] = (),
) -> ExtractedAdapter:
    """Writes the PEFT adapter on `low` that comes nearest to `high` with this rank.

    Linear layers are fitted by a truncated singular value decomposition each. Embeddings, the head, norms and
    biases are not adapted, as engines do not serve them; their energy counts as lost. Raises MergeError.
    """
    if rank < 1:
        raise UsageError(f"rank {rank} is below 1; give a positive whole number")
    settings = read_settings(dtype=dtype, seed=seed)
    first, other = open_checkpoint(low), open_checkpoint(high)
    check_compatible(first, other, any_dtype=True, allow_config=allow_config)
    check_target(out, [low, high])
    if out.exists() and any(out.iterdir()):
        raise TargetExists(f"{out} is not empty; remove it or give another --out")
    modules: dict[str, Factors] = {}
    energies: dict[str, list[tuple[float, float]]] = {}
    random = np.random.default_rng(seed)
    with Inputs([first, other]) as inputs:
        for shard in first.shards:
            for tensor in shard.tensors:
                if not tensor.is_float:
                    continue
                delta = _values(inputs, other.tensors[tensor.name]) - _values(inputs, tensor)
                total = float((delta * delta).sum())
                kept = 0.0
                if _is_linear(tensor) and total > 0.0:
                    module = "base_model.model." + tensor.name.removesuffix(".weight")
                    modules[module], kept = _fit(module, delta.reshape(tensor.shape), rank, random)
                energies.setdefault(_kind(tensor.name), []).append((total, kept))
    if not modules:
        raise UsageError(f"no linear layer differs between {low} and {high}; there is nothing to extract")
    # Names that keep only a smaller rank (a small layer) are filled up, so that one rank holds for all.
    modules = {name: _fill(factors, rank) for name, factors in modules.items()}
    _, weights = store(modules, settings)
    like = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "fan_in_fan_out": False,
            "lora_dropout": 0.0, "init_lora_weights": True, "modules_to_save": None}  # fmt: skip
    config = adapter_config(like, modules, rank=rank, scale=rank, base=str(low.resolve()))
    with partial_directory(out) as partial:
        clear(partial)
        write_file(partial / ADAPTER_CONFIG, (json.dumps(config, indent=2) + "\n").encode())
        write_file(partial / ADAPTER_WEIGHTS, weights)
        publish(partial, out)
    return _result(out, rank, energies)


def _result(out: Path, rank: int, energies: dict[str, list[tuple[float, float]]]) -> ExtractedAdapter:
    whole = sum(total for parts in energies.values() for total, _ in parts)
    kinds = {}
    for kind, parts in sorted(energies.items()):
        total, kept = (sum(column) for column in zip(*parts, strict=True))
        if total > 0.0:
            kinds[kind] = (total / whole, kept / total)
    energy = sum(share * kept for share, kept in kinds.values())
    return ExtractedAdapter(
        out=out,
        rank=rank,
        energy=energy,
        kinds=kinds,
        warning=None
        if energy >= ENOUGH
        else (
            f"rank {rank} keeps {energy:.1%} of the delta's energy, so this adapter is not HIGH; deltas of "
            "reinforcement learning are nearly full-rank. Merge the full checkpoints, or ship --delta"
        ),
    )


def _fit(module: str, delta: Float64, rank: int, random: np.random.Generator) -> tuple[Factors, float]:
    """The nearest pair of factors of at most this rank, and the energy that it keeps."""
    if min(delta.shape) <= max(EXACT, rank + OVERSAMPLE):
        left, values, right = np.linalg.svd(delta, full_matrices=False)
    else:
        # Random projection with power iterations (Halko, Martinsson and Tropp, arXiv:0909.4061).
        basis = delta @ random.standard_normal((delta.shape[1], rank + OVERSAMPLE))
        for _ in range(POWER_ITERATIONS):
            basis, _ = np.linalg.qr(basis)
            basis = delta @ (delta.T @ basis)
        basis, _ = np.linalg.qr(basis)
        inner, values, right = np.linalg.svd(basis.T @ delta, full_matrices=False)
        left = basis @ inner
    root = np.sqrt(values[:rank])
    factors = Factors(
        a=root[:, None] * right[:rank],
        b=left[:, :rank] * root,
        scaling=1.0,
        a_name=f"{module}.lora_A.weight",
        b_name=f"{module}.lora_B.weight",
    )
    return factors, float((values[:rank] ** 2).sum())


def _fill(factors: Factors, rank: int) -> Factors:
    missing = rank - len(factors.a)
    return Factors(
        a=np.pad(factors.a, [(0, missing), (0, 0)]),
        b=np.pad(factors.b, [(0, 0), (0, missing)]),
        scaling=1.0,
        a_name=factors.a_name,
        b_name=factors.b_name,
    )


def _values(inputs: Inputs, tensor: Tensor) -> Float64:
    dtype = FLOATS[tensor.dtype]
    raw = np.empty(tensor.nbytes, np.uint8)
    inputs.read(tensor, 0, raw.data)
    values = np.empty(tensor.size)
    widen(raw.view(dtype.storage), dtype, values, np.empty(tensor.size, np.float32))
    if not np.isfinite(values).all():
        raise NonFinite(f"{tensor.name} in {tensor.file} is NaN or Inf; give an earlier checkpoint")
    return values


def _is_linear(tensor: Tensor) -> bool:
    return (
        len(tensor.shape) == 2
        and tensor.name.endswith(".weight")
        and not any(part in tensor.name for part in ("embed", "lm_head", "wte", "wpe"))
    )


def _kind(name: str) -> str:
    return name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
