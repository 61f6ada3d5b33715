"""Why a split pays, or does not: the exact first-order test.

With p a problem's chance per sample, F_b = (1 - p_b)^k that k samples of member b fail, and H = -log(1 - p), moving
part of b's budget to member m changes the share that is left unsolved in proportion to E[F_b H_b] - E[F_b H_m]. The
share is convex in the split, so a split beats b alone at k if and only if E[F_b H_m] > E[F_b H_b] for some m: on
the problems that b fails k times, a sample of m must be worth more than another one of b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpharay.router.intervals import middle

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """The test at one k. single: the best member over all problems; other: the member whose samples are worth most
    where `single` fails.

    worth: E[F_b H_other] / E[F_b H_b], with both members chosen on other problems than it is measured on, and its
    interval, in which they are chosen anew in each bootstrap sample. 1 is what another sample of b is worth.
    """

    single: str
    other: str
    worth: float
    low: float
    high: float


def worth_after(samples: Ints, solved: Ints, failures: Floats, k: int) -> Floats:
    """[problems, b, m], unbiased estimates of F_b H_m but for the terms p^j / j beyond as many samples as are left.

    samples, solved: [problems, members]; failures: [problems, members], the chance that k of them fail, k < samples.
    Off the diagonal F_b and H_m come from different samples. On it they would come from the same: there H is of the
    samples left after the k that failed, -d/dk of the failure's formula.
    """
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(samples.max()) + 1))])
    hazard = harmonic[samples] - harmonic[samples - solved]
    worth = failures[:, :, np.newaxis] * hazard[:, np.newaxis, :]
    left = np.maximum(samples - k, 0)
    own = failures * (harmonic[left] - harmonic[np.maximum(left - solved, 0)])
    members = np.arange(samples.shape[1])
    worth[:, members, members] = own
    return np.asarray(worth)


def reason(
    worth: Floats, solved_at_k: Floats, names: tuple[str, ...], fold_of: Ints, resamples: Floats
) -> Reason | None:
    """None: fewer than two members, or nothing is left for the first member to solve.

    worth: of `worth_after`. solved_at_k: [problems, members]. fold_of: [problems]. resamples: [resamples, problems].
    """
    problems, members = solved_at_k.shape
    if members < 2:
        return None
    everyone = np.full((1, problems), 1 / problems)
    value = _ratio(worth, solved_at_k, fold_of, everyone)[0]
    spread = _ratio(worth, solved_at_k, fold_of, resamples)
    spread = spread[np.isfinite(spread)]
    single = int(solved_at_k.mean(axis=0).argmax())
    gains = worth[:, single].mean(axis=0)
    gains[single] = -np.inf
    if not np.isfinite(value) or not len(spread):
        return None
    low, high = middle(spread)
    return Reason(
        single=names[single],
        other=names[int(gains.argmax())],
        worth=float(value),
        low=low,
        high=high,
    )


def _ratio(worth: Floats, solved_at_k: Floats, fold_of: Ints, weights: Floats) -> Floats:
    """[sets]: for each fold both members are chosen on the others."""
    problems, members = solved_at_k.shape
    rows = np.arange(len(weights))
    flat = worth.reshape(problems, members * members)
    theirs, own = np.zeros(len(weights)), np.zeros(len(weights))
    for fold in range(int(fold_of.max()) + 1):
        held = fold_of == fold
        single = (weights[:, ~held] @ solved_at_k[~held]).argmax(axis=1)
        chosen_by = (weights[:, ~held] @ flat[~held]).reshape(-1, members, members)[rows, single]
        chosen_by[rows, single] = -np.inf
        other = chosen_by.argmax(axis=1)
        measured = (weights[:, held] @ flat[held]).reshape(-1, members, members)
        theirs += measured[rows, single, other]
        own += measured[rows, single, single]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(theirs / own)
