"""How likely k samples solve a problem, estimated without bias from n recorded ones of which c passed.

Every estimate here is exact for samples drawn without replacement from the recorded ones, which makes it
unbiased for as many fresh samples. All functions take arrays (problems, members, …) as well as numbers, and
work with running products of ratios instead of factorials: exact to a few ulp at any n.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def failure_curve(n: ArrayLike, c: ArrayLike, k_max: int) -> Floats:
    """C(n - c, k) / C(n, k) for every k = 0 … k_max: the chance that k samples hold no pass.

    n: samples recorded, c: those that passed, 0 <= c <= n; any shapes that broadcast.
    Returns the shape (k_max + 1, *shape of n and c); NaN where k > n, for there are no such k samples.

    Raises ValueError: counts with c < 0 or c > n.
    """
    recorded, passed = _counts(n, c)
    k = np.arange(k_max).reshape(-1, *[1] * recorded.ndim)
    left = recorded - k
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.clip((left - passed) / left, 0.0, None)
    ratio[np.broadcast_to(left <= 0, ratio.shape)] = np.nan
    curve = np.ones((k_max + 1, *recorded.shape))
    np.cumprod(ratio, axis=0, out=curve[1:])
    return curve


def filled_failure_curve(n: ArrayLike, c: ArrayLike, k_max: int) -> Floats:
    """`failure_curve`, but a problem with fewer than k samples (some were not judged) counts with all it has."""
    curve = failure_curve(n, c, k_max)
    for k in range(1, len(curve)):
        curve[k] = np.where(np.isnan(curve[k]), curve[k - 1], curve[k])
    return curve


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> Floats:
    """1 - C(n - c, k) / C(n, k): the chance that k samples hold a pass. Shapes as `failure_curve`.

    Raises ValueError: k is larger than some n, or counts with c < 0 or c > n.
    Source: Chen et al. 2021, arXiv:2107.03374.
    """
    recorded, _ = _counts(n, c)
    if k < 0 or (recorded.size and k > recorded.min()):
        raise ValueError(f"pass@{k} needs {k} samples of each problem, the fewest are {recorded.min()}")
    return np.asarray(1.0 - failure_curve(n, c, k)[k])


def split_failure(curves: Floats, split: Sequence[int]) -> Floats:
    """The chance that a split finds nothing, from `failure_curve` of every member.

    curves: (k, …, members), as `failure_curve` makes them of counts whose last axis is the members.
    """
    failure = np.ones(curves.shape[1:-1])
    for member, k in enumerate(split):
        failure = failure * curves[k, ..., member]
    return failure


def uniform_failure(curves: Floats, budget: int) -> Floats:
    """The chance that an equal split of the budget finds nothing; curves as for `split_failure`.

    The remainder goes to neighbouring members, starting at each member equally often: the split that the policy
    `uniform` makes over many requests.
    """
    members = curves.shape[-1]
    share, rest = divmod(budget, members)
    if not rest:
        return split_failure(curves, [share] * members)
    failures = [
        split_failure(curves, [share + ((member - start) % members < rest) for member in range(members)])
        for start in range(members)
    ]
    return np.asarray(np.mean(failures, axis=0))


def budgets_up_to(samples: int) -> list[int]:
    """The k at which shares are reported, as far as the samples allow: 1, 2, 5, 10, 20, 50, 100, 250."""
    return [k for k in (1, 2, 5, 10, 20, 50, 100, 250) if k <= samples]


def _counts(n: ArrayLike, c: ArrayLike) -> tuple[Ints, Ints]:
    whole, part = np.broadcast_arrays(np.asarray(n, dtype=np.int64), np.asarray(c, dtype=np.int64))
    if whole.size and not ((part >= 0) & (part <= whole)).all():
        index = int(np.argmax(~((part >= 0) & (part <= whole)).ravel()))
        raise ValueError(f"{part.ravel()[index]} of {whole.ravel()[index]} samples cannot have passed")
    return whole, part
