"""Solved problems against total samples, and how many samples one way takes for what another solves.

A *level* is a time of a batch, the samples that every unsolved problem has had, or the budget of a request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpharay.router.intervals import middle

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESAMPLES = 4000
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """[levels, problems], means over runs: the share of runs that solve the problem, and the samples that it takes.

    Levels rise, and the first has no samples. Where each level is a run of its own a larger one may solve less, by chance.
    """

    solved: Floats
    samples: Floats

    def weighted(self, weights: Floats) -> tuple[Floats, Floats]:
        """(solved, samples) a problem, [sets, levels]. weights: [sets, problems], each row's sum is 1."""
        return np.maximum.accumulate(weights @ self.solved.T, axis=1), weights @ self.samples.T


def of_first_passes(first: Ints, levels: int) -> Curves:
    """first: [runs, problems], the samples that a problem had at its first pass; NEVER where none passed."""
    grid = np.arange(levels + 1)[:, np.newaxis, np.newaxis]
    return Curves(solved=(first <= grid).mean(axis=1), samples=np.minimum(first, grid).mean(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """At a total of samples, with 95 % intervals by the paired bootstrap over problems.

    solved: share of problems. ratio: samples that it takes for what the other way solves with that total, in parts of it;
    inf where it does not come to as many.
    """

    solved: float
    ratio: float
    low: float
    high: float


def compared(ours: Curves, other: Curves, total: float, *, seed: int = 0) -> Compared | None:
    """total: samples a problem. None: the other way does not spend as many."""
    problems = ours.solved.shape[1]
    picked = np.random.default_rng(seed).multinomial(
        problems, np.full(problems, 1 / problems), RESAMPLES
    )  # [RESAMPLES, problems]
    weights = np.concatenate([np.full((1, problems), 1 / problems), picked / problems])
    solved, samples = ours.weighted(weights)
    other_solved, other_samples = other.weighted(weights)
    if other_samples[0, -1] < total:
        return None
    ratios = np.empty(len(weights))
    for row in range(len(weights)):
        goal = float(np.interp(total, other_samples[row], other_solved[row]))
        ratios[row] = samples_for(goal, solved[row], samples[row]) / total
    with np.errstate(invalid="ignore"):
        low, high = middle(ratios[1:])
    return Compared(
        solved=float(np.interp(total, samples[0], solved[0])), ratio=float(ratios[0]), low=low, high=high
    )


def samples_for(goal: float, solved: Floats, samples: Floats) -> float:
    """The samples at which a curve first solves that share; inf where it never does."""
    level = int(np.searchsorted(solved, goal - 1e-12))
    if level == len(solved):
        return float("inf")
    if level == 0:
        return float(samples[0])
    part = (goal - solved[level - 1]) / (solved[level] - solved[level - 1])
    return float(samples[level - 1] + part * (samples[level] - samples[level - 1]))


def cell(compared: Compared | None) -> str:
    """`solved % (ratio [low, high])`"""
    if compared is None:
        return ""
    low, high, ratio = (
        f"{value:.2f}" if np.isfinite(value) else "∞"
        for value in (compared.low, compared.high, compared.ratio)
    )
    return f"{100 * compared.solved:.1f} ({ratio} [{low}, {high}])"
