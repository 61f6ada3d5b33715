"""Points of the affine span of named checkpoints: theta = sum_i weight_i * checkpoint_i, the weights summing to 1.

Weights are the one way in which a point is written; alpha is a spelling of it, low 1 - alpha and high alpha.
"""

import difflib
import itertools
import math
from collections.abc import Collection, Mapping
from pathlib import Path

from alpharay.merge.checkpoints.checkpoint import same_file
from alpharay.merge.combine import Combination
from alpharay.merge.compute.plan import Output, Plan, Settings, open_sources
from alpharay.merge.errors import UsageError

# What decimals that were rounded by hand may be off, such as three times 0.33333.
_SUM_TOLERANCE = 2e-5
_LINE = ("low", "high")


def line_weights(alpha: float) -> dict[str, float]:
    """The point alpha of the line low..high."""
    return {"low": 1.0 - alpha, "high": float(alpha)}


def line_alpha(weights: Mapping[str, float]) -> float | None:
    """The alpha of a point that lies on the line low..high; None elsewhere."""
    off_line = any(weight for name, weight in weights.items() if name not in _LINE)
    return None if off_line else weights.get("high", 0.0)


def shown_weights(weights: Mapping[str, float], digits: str = "g") -> str:
    """`init 0.75, low -0.25, high 0.5`"""
    return ", ".join(f"{name} {weight:{digits}}" for name, weight in weights.items())


def check_weights(weights: Mapping[str, float], known: Collection[str]) -> None:
    """Raises UsageError: a checkpoint is not known, a weight is no number, or they do not sum to 1."""
    if not weights:
        raise UsageError(f"no weight is given; known checkpoints are {', '.join(known)}")
    for name, weight in weights.items():
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise UsageError(f"there is no checkpoint {name!r}; {hint}")
        if not math.isfinite(weight):
            raise UsageError(f"the weight of {name} is {weight}; give a finite number")
    total = math.fsum(weights.values())
    if abs(total - 1.0) > _SUM_TOLERANCE:
        off = f"{'raise' if total < 1 else 'lower'} one of them by {abs(1.0 - total):.6g}"
        raise UsageError(f"the weights {shown_weights(weights)} sum to {total:.6g}, and must sum to 1; {off}")


def involved(order: Collection[str], weights: Mapping[str, float]) -> tuple[str, ...]:
    """The checkpoints that a point is computed from, in that order: of the line low..high both ends, also for an end."""
    ends = _LINE if line_alpha(weights) is not None else ()
    return tuple(name for name in order if weights.get(name, 0.0) != 0.0 or name in ends)


def plan_span(
    *, checkpoints: Mapping[str, Path], outputs: Mapping[str, Mapping[str, float]], settings: Settings
) -> Plan:
    """One output per point, by its name. The first checkpoint is the anchor and gives tokenizer and configs.

    A point's bits depend on the anchor. So points are planned together only where they are computed from the same
    checkpoints; then they are the same whatever else is planned, as those of `plan_point` are.

    Raises UsageError, CheckpointError, Mismatch.
    """
    for (name, path), (other, twin) in itertools.combinations(checkpoints.items(), 2):
        if same_file(path, twin):
            raise UsageError(f"the checkpoints {name} and {other} are both {path}; name it once")
    others = list(checkpoints)[1:]
    planned = []
    for name, weights in outputs.items():
        check_weights(weights, checkpoints)
        coefficients = tuple(weights.get(other, 0.0) for other in others)
        planned.append(Output(name=name, alpha=1.0, combination=Combination(coefficients=coefficients)))
    return Plan(
        method="span",
        sources=open_sources(checkpoints, settings),
        outputs=tuple(planned),
        settings=settings,
    )


def plan_point(*, checkpoints: Mapping[str, Path], weights: Mapping[str, float], settings: Settings) -> Plan:
    """One point alone, from the checkpoints that have a part in it. Raises UsageError, CheckpointError, Mismatch."""
    check_weights(weights, checkpoints)
    taken = {name: checkpoints[name] for name in involved(checkpoints, weights)}
    return plan_span(
        checkpoints=taken, outputs={"theta": {n: weights.get(n, 0.0) for n in taken}}, settings=settings
    )
