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

    Raises ValueError: counts that cannot be.
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


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> Floats:
    """1 - C(n - c, k) / C(n, k): the chance that k samples hold a pass. Shapes as `failure_curve`.

    Raises ValueError: k is larger than some n, or counts that cannot be.
    Source: Chen et al. 2021, arXiv:2107.03374.
    """
    recorded, _ = _counts(n, c)
    if k < 0 or (recorded.size and k > recorded.min()):
        raise ValueError(f"pass@{k} needs {k} samples of each problem, the fewest are {recorded.min()}")
    return np.asarray(1.0 - failure_curve(n, c, k)[k])


def pass_at_split(n: ArrayLike, c: ArrayLike, split: Sequence[int]) -> Floats:
    """1 - prod_m C(n_m - c_m, k_m) / C(n_m, k_m): a budget split as k_m samples of member m.

    n, c: members on the last axis. Returns the other axes' shape.

    Raises ValueError: a member is asked for more samples than were recorded of it.
    """
    recorded, passed = np.broadcast_arrays(*_counts(n, c))
    if recorded.shape[-1:] != (len(split),):
        raise ValueError(f"a split over {len(split)} members does not fit counts of shape {recorded.shape}")
    failure = np.ones(recorded.shape[:-1])
    for member, k in enumerate(split):
        failure *= 1.0 - pass_at_k(recorded[..., member], passed[..., member], k)
    return np.asarray(1.0 - failure)


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

    What does not divide goes to neighbouring members, and each is as often the first of them as any other:
    the split that the policy `uniform` makes over many requests.
    """
    members = curves.shape[-1]
    share, rest = divmod(budget, members)
    if not rest:
        return split_failure(curves, [share] * members)
    failures = [
        split_failure(curves, [share + ((place - start) % members < rest) for place in range(members)])
        for start in range(members)
    ]
    return np.asarray(np.mean(failures, axis=0))


def equal_split_failure(full_budget_failures: ArrayLike) -> Floats:
    """An equal split's failure where samples are drawn with replacement: the geometric mean over members.

    full_budget_failures: each member's failure with the whole budget, (1 - p_m)^K, members on the last axis.
    """
    failures = np.asarray(full_budget_failures, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(np.mean(np.log(failures), axis=-1)))


def pass_n_at_k(
    recorded: ArrayLike, survivors: ArrayLike, correct: ArrayLike, *, submissions: int, k: int
) -> Floats:
    """The chance that one of `submissions` answers is right, chosen at random among k samples' survivors.

    recorded: samples K. survivors: F of them pass a filter (the public tests). correct: C of those are right.
    With j of the k samples surviving, s = min(n, j) are submitted:
    1 - sum_j HG(j; K, F, k) C(F - C, s) / C(F, s).

    Raises ValueError: k is larger than K, or counts that cannot be.
    Source: Li et al. 2022 (AlphaCode), arXiv:2203.07814, here without replacement.
    """
    total, kept = _counts(recorded, survivors)
    kept, right = _counts(kept, correct)
    if k > total.min():
        raise ValueError(
            f"pass {submissions}@{k} needs {k} samples of each problem, the fewest are {total.min()}"
        )
    failure = np.zeros(kept.shape)
    misses = failure_curve(kept, right, submissions)
    for j in range(k + 1):
        s = np.minimum(min(submissions, j), kept)
        missed = np.take_along_axis(misses, s[np.newaxis], axis=0)[0]
        failure += hypergeometric(j, total, kept, k) * missed
    return np.asarray(1.0 - failure)


def hypergeometric(j: int, total: ArrayLike, marked: ArrayLike, drawn: int) -> Floats:
    """C(F, j) C(K - F, k - j) / C(K, k): the chance that j of k drawn ones are among the F marked of K."""
    everything, chosen = _counts(total, marked)
    others = everything - chosen
    possible = (j <= chosen) & (drawn - j <= others)
    logs = _log_factorials(int(everything.max(initial=0)))

    def log_choose(n: Ints, k: int) -> Floats:
        safe = np.maximum(n, k)
        return np.asarray(logs[safe] - logs[k] - logs[safe - k])

    log = log_choose(chosen, j) + log_choose(others, drawn - j) - log_choose(everything, drawn)
    return np.where(possible, np.exp(np.where(possible, log, 0.0)), 0.0)


def budgets_up_to(samples: int) -> list[int]:
    """The k at which shares are reported, as far as the samples allow: 1, 2, 5, 10, 20, 50, 100, 250."""
    return [k for k in (1, 2, 5, 10, 20, 50, 100, 250) if k <= samples]


def _log_factorials(n: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def _counts(n: ArrayLike, c: ArrayLike) -> tuple[Ints, Ints]:
    whole, part = np.broadcast_arrays(np.asarray(n, dtype=np.int64), np.asarray(c, dtype=np.int64))
    if whole.size and not ((part >= 0) & (part <= whole)).all():
        place = int(np.argmax(~((part >= 0) & (part <= whole)).ravel()))
        raise ValueError(f"{part.ravel()[place]} of {whole.ravel()[place]} samples cannot have passed")
    return whole, part
