"""How likely the next sample of a problem passes after so many failures, learnt from the batch that it is in.

Over problems the chance of a sample to pass has a Beta distribution, so that a failure makes the next sample less likely to
pass: after f failures its chance is a / (a + b + f).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_SUMS, _MEANS = (
    grid.reshape(-1) for grid in np.meshgrid(np.geomspace(0.125, 128.0, 21), np.geomspace(1e-4, 0.95, 60))
)
_A = _SUMS * _MEANS  # [points]; their sums are a + b
# Natural logarithms below the likeliest point within which another is plausible: about one standard error.
_PLAUSIBLE = 0.5
_NONE_LEFT = 0.01


def samples_worth(failures: Ints, passed: NDArray[np.bool_], cost: float) -> float:
    """The samples of a problem of which each is worth its cost, in passes, if all before it fail.

    As many as the most hopeful plausible fit says, because a problem that is given up teaches nothing more.

    failures: [problems], samples that failed before the first pass, or so far. passed: [problems], whether one did. An
    imaginary problem that passed at once stands for what is assumed before anything passes.
    """
    likelihood = _likelihood(failures, passed)
    samples = np.maximum(0.0, np.floor(_A / cost - _SUMS) + 1)
    return float(samples[likelihood >= likelihood.max() - _PLAUSIBLE].max())


def expected_passes(
    failures: Ints,
    passed: NDArray[np.bool_],
    drawable: NDArray[np.bool_],
    samples: int,
    most: float = math.inf,
) -> float:
    """Problems that `samples` further ones are expected to solve, if those with the fewest failures come first.

    failures, passed: as above. drawable: [problems], which may have them; none of these has passed. most: samples of a problem.
    """
    likeliest = int(_likelihood(failures, passed).argmax())
    a, total = float(_A[likeliest]), float(_SUMS[likeliest])
    level, unsolved, solved, left = int(failures[drawable].min(initial=0)), 0.0, 0.0, float(samples)
    joins = np.bincount(failures[drawable]) if drawable.any() else np.zeros(1, dtype=np.int64)
    while left > _NONE_LEFT and level < most and (level < len(joins) or unsolved > _NONE_LEFT):
        unsolved += joins[level] if level < len(joins) else 0
        spent = min(left, unsolved)
        passes = spent * a / (total + level)
        solved, unsolved, left, level = solved + passes, unsolved - passes, left - spent, level + 1
    return solved


def _likelihood(failures: Ints, passed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[points], its logarithm."""
    most = int(failures.max(initial=0))
    ended = np.bincount(failures[passed], minlength=most + 1).astype(np.float64)
    ended[0] += 1
    beyond = np.bincount(failures, minlength=most + 1)[::-1].cumsum()[::-1][
        1:
    ]  # problems with more failures than 0, 1, …
    before = np.arange(most + 1)
    a, total = _A[:, np.newaxis], _SUMS[:, np.newaxis]
    fails = np.log((total - a + before[:-1]) / (total + before[:-1]))
    return np.asarray(np.log(a / (total + before)) @ ended + fails @ beyond)
