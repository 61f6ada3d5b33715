"""What one merge is asked to do: the inputs, the outputs as combinations of them, how to round."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from alpharay.merge.checkpoint import Checkpoint, open_checkpoint, same_file
from alpharay.merge.combine import Combination
from alpharay.merge.compatible import check_compatible
from alpharay.merge.dtypes import WRITABLE, Dtype
from alpharay.merge.errors import UsageError
from alpharay.merge.rounding import Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One checkpoint to write: the directory `name` under the output directory."""

    name: str
    alpha: float
    combination: Combination


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One checkpoint to read. `role` is its part in the method: low, high, base ..."""

    role: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A merge whose inputs have been checked. Source 0 is the anchor and gives the companions.

    dtype: None keeps every tensor's own.
    """

    method: str
    sources: tuple[Source, ...]
    outputs: tuple[Output, ...]
    dtype: Dtype | None
    rounding: Rounding
    seed: int
    shard_bytes: int | None = None

    @property
    def dtype_name(self) -> str:
        """The dtype in words, for tables and warnings."""
        if self.dtype:
            return self.dtype.name
        anchor = self.sources[0].checkpoint
        return "+".join(
            sorted({tensor.dtype.lower() for tensor in anchor.tensors.values() if tensor.is_float})
        )

    def identity(self) -> dict[str, Any]:
        """What makes two merges of the same inputs the same; goes into the manifest."""
        return {
            "method": self.method,
            "alphas": [output.alpha for output in self.outputs],
            "dtype": self.dtype.name if self.dtype else None,
            "rounding": self.rounding,
            # Nothing is drawn when rounding to nearest.
            "seed": self.seed if self.rounding == "stochastic" else None,
            "shard_bytes": self.shard_bytes,
            "weights": {
                output.name: [output.combination.scale, *output.combination.coefficients]
                for output in self.outputs
            },
        }


def alpha_name(alpha: float) -> str:
    """The directory of one alpha: `alpha=1.5`, `alpha=0`, `alpha=-0.5`."""
    text = repr(alpha + 0.0)  # -0.0 is 0
    return f"alpha={text.removesuffix('.0')}"


def check_alphas(alphas: Sequence[float]) -> tuple[float, ...]:
    """The alphas as floats. Raises UsageError for none, one that is not finite, or one twice."""
    if not alphas:
        raise UsageError("no alpha given; name at least one, as in --alpha 1.5")
    values = tuple(float(alpha) + 0.0 for alpha in alphas)
    for i, value in enumerate(values):
        if not math.isfinite(value):
            raise UsageError(f"alpha {value} is not a finite number; 0 is LOW, 1 is HIGH")
        if value in values[:i]:
            raise UsageError(f"alpha {value:g} is given twice; name each once")
    return values


def plan_ewa(
    *,
    low: Path,
    high: Path,
    alphas: Sequence[float],
    dtype: str | None,
    rounding: str,
    seed: int,
    shard_bytes: int | None = None,
) -> Plan:
    """Extrapolative weight averaging: theta(alpha) = low + alpha * (high - low).

    alpha 0 is low and 1 is high; outside [0, 1] it extrapolates. Source: arXiv:2605.28751.
    Raises UsageError, CheckpointError, Mismatch.
    """
    values = check_alphas(alphas)
    target, mode = check_numbers(dtype, rounding, seed)
    if same_file(low, high):
        raise UsageError(f"LOW and HIGH are both {low}; give the two endpoints of the frontier")
    sources = open_sources({"low": low, "high": high}, any_dtype=target is not None)
    outputs = tuple(
        Output(name=alpha_name(alpha), alpha=alpha, combination=Combination(coefficients=(alpha,)))
        for alpha in values
    )
    return Plan(
        method="ewa",
        sources=sources,
        outputs=outputs,
        dtype=target,
        rounding=mode,
        seed=seed,
        shard_bytes=shard_bytes,
    )


def check_numbers(dtype: str | None, rounding: str, seed: int) -> tuple[Dtype | None, Rounding]:
    """The dtype and rounding that the words mean. Raises UsageError naming the choices."""
    if dtype is not None and dtype not in WRITABLE:
        raise UsageError(f"dtype {dtype!r} cannot be written; choose one of {', '.join(WRITABLE)}")
    for mode in get_args(Rounding):
        if rounding == mode:
            break
    else:
        raise UsageError(f"rounding {rounding!r} is unknown; choose one of {', '.join(get_args(Rounding))}")
    if seed < 0:
        raise UsageError(f"seed {seed} is negative; give 0 or more")
    return WRITABLE[dtype] if dtype else None, mode


def open_sources(paths: dict[str, Path], *, any_dtype: bool) -> tuple[Source, ...]:
    """Opens the checkpoints and checks every one against the first."""
    sources = tuple(Source(role=role, checkpoint=open_checkpoint(Path(path))) for role, path in paths.items())
    for source in sources[1:]:
        check_compatible(sources[0].checkpoint, source.checkpoint, any_dtype=any_dtype)
    return sources
