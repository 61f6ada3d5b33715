"""How much of the intended move survived the rounding.

A bfloat16 weight of 0.02 has neighbours 1e-4 away, and reinforcement learning moves it by about 1e-5: to
nearest, alpha becomes a step function. The *effective weights* are the regression of the realised on the ideal
move, direction by direction: the coefficients c that minimise |written - anchor - sum_j c_j * delta_j|. Between
two checkpoints that is the *effective alpha*, sum((written - low) * delta) / sum(delta * delta). It should be
alpha. The *rounding error* is rms(written - exact) / rms(delta): what each single weight is off, on average over the
weights; of several deltas the mean one counts.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from alpharay.merge.combine import Sums

TOLERANCE = 0.05
# Below it, as a share of the largest, an eigenvalue of the directions' correlations counts as 0: they are dependent.
_DEPENDENT = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Realised:
    """What one output really is, unitless.

    effective_alpha: where the whole move is counted by one number; for identical endpoints it is alpha itself.
    coefficients: what became of the coefficient of each direction.
    """

    effective_alpha: float
    rounding_error: float
    coefficients: tuple[float, ...]


def add(sums: Iterable[Sums]) -> Sums:
    """Exactly rounded sums, so that their order (threads, shards) cannot show in the result."""
    parts = list(sums)
    if not parts:
        return Sums(error_along=(), gram=(), error_error=0.0)
    size = range(len(parts[0].gram))
    return Sums(
        error_along=tuple(math.fsum(part.error_along[i] for part in parts) for i in size),
        gram=tuple(tuple(math.fsum(part.gram[i][j] for part in parts) for j in size) for i in size),
        error_error=math.fsum(part.error_error for part in parts),
    )


def realised(sums: Sums, alpha: float, coefficients: Sequence[float]) -> Realised:
    """What became of an output.

    alpha: its ideal one, as its method counts; along several directions 1, the whole of the ideal move.
    coefficients: its ideal ones, of the directions of `sums`.
    """
    size = len(sums.gram)
    if sums.unmoved:
        return Realised(effective_alpha=alpha, rounding_error=0.0, coefficients=tuple(coefficients))
    if size == 1:
        shift = sums.error_along[0] / sums.gram[0][0]
        shifts = [shift]
    else:
        gram, errors, ideal = np.array(sums.gram), np.array(sums.error_along), np.array(coefficients)
        move = float(ideal @ gram @ ideal)
        shift = float(ideal @ errors) / move if move > 0.0 else 0.0
        lengths = np.sqrt(np.diag(gram))
        lengths[lengths == 0.0] = 1.0
        inverse = np.linalg.pinv(gram / np.outer(lengths, lengths), rcond=_DEPENDENT, hermitian=True)
        shifts = list(inverse @ (errors / lengths) / lengths)
    mean = math.fsum(sums.gram[i][i] for i in range(size)) / size
    return Realised(
        effective_alpha=alpha + shift,
        rounding_error=math.sqrt(sums.error_error / mean),
        coefficients=tuple(float(c + s) for c, s in zip(coefficients, shifts, strict=True)),
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


def warning(dtype: str, wrong: Sequence[tuple[float, float]], what: str = "alpha") -> str:
    """One line for outputs whose (alpha, effective alpha) are more than 5 % apart, with the remedy.

    what: that number in words.
    """
    listed = ", ".join(f"{alpha:g} became {effective:.3g}" for alpha, effective in wrong)
    return (
        f"rounding to {dtype} changed {what} by more than 5 %: {listed}. The delta between the endpoints is "
        f"smaller than the steps of {dtype}; write --dtype fp16 (same size) or fp32, or use --rounding "
        "stochastic (right on average over the weights), endpoints saved in fp32, or LoRA adapters"
    )
