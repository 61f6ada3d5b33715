"""Numbers from outcomes: how often samples pass and why they fail, and what a budget covers, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from alpharay.router.intervals import mean_interval
from alpharay.router.outcomes import Outcomes
from alpharay.router.passk import budgets_up_to, failure_curve, split_failure, uniform_failure
from alpharay.router.portfolio import optimal_split, rounded

Floats = NDArray[np.float64]
RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Set:
    """One set of problems under some members. passes: [k, problems, members], the chance that k samples hold a pass."""

    names: tuple[str, ...]
    alphas: tuple[float, ...]
    budgets: tuple[int, ...]
    failures: Floats
    counts: NDArray[np.int64]
    incorrect: Floats
    inefficient: Floats

    @property
    def problems(self) -> int:
        return self.counts.shape[0]

    def columns(self, names: Sequence[str]) -> list[int]:
        return [self.names.index(name) for name in names]

    def alone(self, name: str, k: int) -> Floats:
        """[problems]"""
        return 1 - self.failures[k, :, self.names.index(name)]

    def together(self, names: Sequence[str], k: int) -> Floats:
        """[problems], an equal split of k samples."""
        return 1 - uniform_failure(self.failures[:, :, self.columns(names)], k)

    def split(self, split: Sequence[int]) -> Floats:
        """[problems], a split over all members."""
        return 1 - split_failure(self.failures, split)


def read(outcomes: Outcomes) -> Set:
    """Raises ValueError: some problem lacks samples of some member."""
    counts = outcomes.counts
    samples = int(counts.samples.min())
    if samples < 1:
        raise ValueError("some problem has no sample of some member; gather outcomes of whole parts only")
    return Set(
        names=tuple(member.name for member in outcomes.members),
        alphas=tuple(math.nan if member.alpha is None else member.alpha for member in outcomes.members),
        budgets=tuple(budgets_up_to(samples)),
        failures=failure_curve(counts.samples, counts.solved, samples),
        counts=np.stack([counts.samples, counts.solved], axis=-1),
        incorrect=counts.incorrect / counts.samples,
        inefficient=counts.inefficient / counts.samples,
    )


def rows_of(outcomes: Outcomes, chosen: NDArray[np.bool_]) -> Outcomes:
    """Only those rows; problems and members keep their numbers."""
    columns = {each.name: getattr(outcomes, each.name) for each in fields(outcomes)}
    return replace(
        outcomes, **{name: each[chosen] for name, each in columns.items() if isinstance(each, np.ndarray)}
    )


def halves(outcomes: Outcomes) -> tuple[Set, Set]:
    """The first and the second half of every member's samples of every problem.

    Problems that are sorted by one are measured on the other, or chance would look like a difference.
    """
    first = outcomes.sample < (int(outcomes.sample.max()) + 1) // 2
    return read(rows_of(outcomes, first)), read(rows_of(outcomes, ~first))


def interval(values: Floats) -> tuple[float, float, float]:
    """Mean over problems with its 95 % bootstrap interval; give it paired differences to compare two ways."""
    return mean_interval(values, resamples=RESAMPLES)


def best_single(validation: Set, names: Sequence[str], k: int) -> str:
    """The member with which k samples solve most validation problems."""
    return max(names, key=lambda name: float(validation.alone(name, k).mean()))


def best_split(validation: Set, test: Set, names: Sequence[str], k: int) -> list[int]:
    """The split of k samples that covers most validation problems, over all of the test's members."""
    weights = optimal_split(validation.counts[:, validation.columns(names)], k, shrunk=True)
    whole = [0] * len(test.names)
    for name, samples in zip(names, rounded(weights, k), strict=True):
        whole[test.names.index(name)] = int(samples)
    return whole
