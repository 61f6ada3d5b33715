"""How much of alpha survived the rounding.

A bfloat16 weight of 0.02 has neighbours 1e-4 away, and reinforcement learning moves it by about 1e-5: to
nearest, alpha becomes a step function. The *effective alpha* is the regression slope of the realised on
the ideal move, sum((written - low) * delta) / sum(delta * delta); it should be alpha. The *rounding
error* is rms(written - exact) / rms(delta): what each single weight is off, on average over the weights.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alpharay.merge.combine import Sums

TOLERANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Realised:
    """What one output really is. Both unitless; for identical endpoints effective_alpha is alpha itself."""

    effective_alpha: float
    rounding_error: float


def add(sums: Iterable[Sums]) -> Sums:
    """Exactly rounded sums, so that their order (threads, shards) cannot show in the result."""
    parts = list(sums)
    return Sums(
        error_direction=math.fsum(part.error_direction for part in parts),
        direction_direction=math.fsum(part.direction_direction for part in parts),
        error_error=math.fsum(part.error_error for part in parts),
    )


def realised(sums: Sums, alpha: float) -> Realised:
    """The effective alpha of an output whose ideal one is `alpha`."""
    if sums.direction_direction <= 0.0:
        return Realised(effective_alpha=alpha, rounding_error=0.0)
    return Realised(
        effective_alpha=alpha + sums.error_direction / sums.direction_direction,
        rounding_error=math.sqrt(sums.error_error / sums.direction_direction),
    )


def off(alpha: float, effective_alpha: float) -> bool:
    """Whether the effective alpha is more than 5 % away from `alpha`."""
    return abs(effective_alpha - alpha) > TOLERANCE * abs(alpha) + 1e-9


def layer_group(tensor: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` -> `model.layers.3`; a tensor outside layers is its module."""
    match = re.match(r".*?\.\d+(?=\.)", tensor)
    return match.group() if match else tensor.rpartition(".")[0] or tensor


def by_group(tensors: dict[str, Sums]) -> dict[str, Sums]:
    """The sums of every layer group, in the order in which the groups first appear."""
    groups: dict[str, list[Sums]] = {}
    for name, sums in tensors.items():
        groups.setdefault(layer_group(name), []).append(sums)
    return {group: add(parts) for group, parts in groups.items()}


def warning(dtype: str, wrong: Sequence[tuple[float, float]]) -> str:
    """One line for outputs whose (alpha, effective alpha) are more than 5 % apart, with the remedy."""
    listed = ", ".join(f"{alpha:g} became {effective:.3g}" for alpha, effective in wrong)
    return (
        f"rounding to {dtype} changed alpha by more than 5 %: {listed}. The delta between the endpoints is "
        f"smaller than the steps of {dtype}; write --dtype fp16 (same size) or fp32, or use --rounding "
        "stochastic (right on average over the weights), endpoints saved in fp32, or LoRA adapters"
    )
