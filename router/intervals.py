"""95 % intervals by the bootstrap over problems."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TAIL = 2.5  # percent on either side


def middle(spread: Floats, *, comparisons: int = 1) -> tuple[float, float]:
    """Where the middle 95 % of bootstrap values lie. comparisons: how many intervals are to hold at once (Bonferroni)."""
    tail = _TAIL / comparisons
    low, high = np.percentile(spread, [tail, 100 - tail])
    return float(low), float(high)


def mean_interval(
    values: Floats, *, seed: int = 0, resamples: int, comparisons: int = 1
) -> tuple[float, float, float]:
    """(mean over problems, low, high); give it paired differences to compare two ways. comparisons: as in `middle`."""
    picked = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    return (float(values.mean()), *middle(values[picked].mean(axis=1), comparisons=comparisons))
