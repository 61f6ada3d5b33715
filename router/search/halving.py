"""Successive halving over points of the span, as a state machine driven by outcomes.

Several runs go on side by side over the same samples: each leaves out one fold of the problems when it chooses, so
that its finalists can be measured on problems that were in no choice (`nested.py`); the last uses all and makes the
recommendation. The draws follow from the outcomes recorded so far and nothing else: a search that was stopped records
them again and continues, and nothing is drawn twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpharay.router.portfolio import beta_over_problems
from alpharay.router.schedule import greedy_schedules, shrunk_chances
from alpharay.router.search.points import BOUNDS, Point, neighbours

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ALL = -1  # the run that uses every problem


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """points: where to begin; kept: of these, those that are measured to the end whatever they solve (checkpoints).

    baselines: measured to the end, and never chosen. total: samples over all points and problems.
    step: between neighbours after the first round. finalists: points that a run ends with, at most.
    """

    points: tuple[Point, ...]
    problems: int
    budgets: tuple[int, ...]
    total: int
    kept: tuple[Point, ...] = ()
    baselines: tuple[str, ...] = ()
    seed: int = 0
    folds: int = 4
    finalists: int = 8
    step: float = 0.25
    bounds: tuple[float, float] = BOUNDS

    def __post_init__(self) -> None:
        if self.problems < 2 * self.folds:
            raise ValueError(f"a search needs at least {2 * self.folds} problems, got {self.problems}")
        if not self.budgets or min(self.budgets) < 1:
            raise ValueError(f"the numbers of samples to search for must be at least 1, got {self.budgets}")
        if self.total < self.least:
            raise ValueError(
                f"{self.total} samples are too few: one of each of {len(self.points)} points and {len(self.baselines)} "
                f"baselines on {self.problems} problems, in each of {self.rounds} rounds, takes {self.least}"
            )

    @property
    def rounds(self) -> int:
        return 2 + math.ceil(math.log2(max(1, len(self.points) / self.finalists)))

    @property
    def reachable(self) -> tuple[Point, ...]:
        """Every point that a round may draw: the first ones, and their neighbours, which the first round adds."""
        near = (other for point in self.points for other in neighbours(point, self.step, self.bounds))
        return tuple(dict.fromkeys((*self.points, *near)))

    @property
    def least(self) -> int:
        return (len(self.points) + len(self.baselines)) * self.problems * self.rounds


Subject = Point | str


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample to draw: of a point, or of a baseline by its name."""

    subject: Subject
    problem: int
    sample: int


@dataclass(slots=True)
class _Rounds:
    """alive: the points of each run. samples: per subject, its samples of each problem. spent: samples of the rounds
    so far.
    """

    alive: dict[int, tuple[Point, ...]]
    samples: dict[Subject, int] = field(default_factory=dict)
    spent: int = 0


class Search:
    """Call `draws()`, report each outcome by `record`, and repeat until `draws()` returns none."""

    def __init__(self, plan: SearchPlan) -> None:
        self.plan = plan
        self.fold_of: Ints = np.random.default_rng(plan.seed).permutation(plan.problems) % plan.folds
        self._outcomes: dict[tuple[Subject, int, int], bool | None] = {}
        self._rounds = self._begun()

    def record(self, draw: Draw, solved: bool | None) -> None:
        """Records the outcome of a draw. solved: None if it could not be judged, which counts neither way."""
        self._outcomes[draw.subject, draw.problem, draw.sample] = None if solved is None else bool(solved)

    @property
    def recorded(self) -> int:
        """Number of samples with a recorded outcome."""
        return len(self._outcomes)

    def draws(self) -> tuple[Draw, ...]:
        """The draws that the current round still needs."""
        rounds = self._begun()
        for number in range(self.plan.rounds):
            self._allot(rounds, number)
            missing = tuple(self._missing(rounds))
            if missing:
                self._rounds = rounds
                return missing
            if number < self.plan.rounds - 1:
                self._choose(rounds, number)
        self._rounds = rounds
        return ()

    @property
    def samples(self) -> dict[Subject, int]:
        """Per subject, its samples of each problem at the end of the current round."""
        return dict(self._rounds.samples)

    def finalists(self, fold: int = ALL) -> tuple[Point, ...]:
        """The points that the run without that fold of the problems is left with, the best first.

        The run over all problems takes those of the other runs too, which have as many samples. The others must not: what
        a run came to that saw their fold is no choice without it.
        """
        runs = self._rounds.alive if fold == ALL else (fold,)
        alive = tuple(dict.fromkeys(point for run in runs for point in self._rounds.alive[run]))
        ranked = self._ranked(alive, self._rounds, fold)
        return tuple(ranked[: self.plan.finalists])

    def counts(self, subjects: Sequence[Subject]) -> tuple[Ints, Ints]:
        """(samples, solved), each [problems, subjects], of the samples that the rounds so far allotted."""
        return self._counted(subjects, self._rounds)

    def _begun(self) -> _Rounds:
        return _Rounds(dict.fromkeys((*range(self.plan.folds), ALL), self.plan.points))

    def _subjects(self, rounds: _Rounds) -> list[Subject]:
        points = {point for alive in rounds.alive.values() for point in alive}
        return [*sorted(points), *self.plan.baselines]

    def _allot(self, rounds: _Rounds, number: int) -> None:
        """Brings all alive subjects to the same number of samples, as many as the round's share of the total allows."""
        subjects = self._subjects(rounds)
        share = (self.plan.total - rounds.spent) // (self.plan.rounds - number)
        target = max(rounds.samples.values(), default=0)

        def cost(samples: int) -> int:
            lacking = sum(max(0, samples - rounds.samples.get(subject, 0)) for subject in subjects)
            return lacking * self.plan.problems

        while target and rounds.spent + cost(target) > self.plan.total:
            target -= 1  # too many new points to catch up
        while cost(target + 1) <= share:
            target += 1
        rounds.spent += cost(target)
        for subject in subjects:
            rounds.samples[subject] = max(target, rounds.samples.get(subject, 0))

    def _missing(self, rounds: _Rounds) -> Iterable[Draw]:
        for subject, samples in rounds.samples.items():
            for problem in range(self.plan.problems):
                for sample in range(samples):
                    if (subject, problem, sample) not in self._outcomes:
                        yield Draw(subject, problem, sample)

    def _choose(self, rounds: _Rounds, number: int) -> None:
        """Each run keeps its better half; after the first round it adds neighbours of its best points."""
        for fold, alive in rounds.alive.items():
            ranked = self._ranked(alive, rounds, fold)
            left = max(self.plan.finalists, math.ceil(len(ranked) / 2))
            chosen = ranked[:left]
            if number == 0:
                near = [
                    other for point in chosen for other in neighbours(point, self.plan.step, self.plan.bounds)
                ]
                new = [point for point in dict.fromkeys(near) if point not in alive]
                chosen += new[: max(self.plan.finalists, len(ranked) - left)]
            rounds.alive[fold] = tuple(dict.fromkeys([*chosen, *self.plan.kept]))

    def _ranked(self, points: Sequence[Point], rounds: _Rounds, fold: int) -> list[Point]:
        """Points in the order of the interleaved rankings by budget and by the schedule; points without samples are
        omitted.
        """
        points = [point for point in points if rounds.samples.get(point)]
        known = self.fold_of != fold
        samples, solved = self._counted(points, rounds)
        samples, solved = samples[known], solved[known]
        orders = [
            np.argsort(expected_failures(samples, solved, k).mean(axis=0), kind="stable").tolist()
            for k in self.plan.budgets
        ]
        everyone = np.full((1, len(samples)), 1 / len(samples))
        schedule = greedy_schedules(shrunk_chances(samples, solved), everyone, max(self.plan.budgets))[0]
        orders.append(list(dict.fromkeys(schedule.tolist())))
        merged = dict.fromkeys(
            order[turn] for turn in range(len(points)) for order in orders if turn < len(order)
        )
        return [points[number] for number in merged]

    def _counted(self, subjects: Sequence[Subject], rounds: _Rounds) -> tuple[Ints, Ints]:
        samples = np.zeros((self.plan.problems, len(subjects)), dtype=np.int64)
        solved = np.zeros_like(samples)
        for column, subject in enumerate(subjects):
            for problem in range(self.plan.problems):
                for sample in range(rounds.samples.get(subject, 0)):
                    outcome = self._outcomes.get((subject, problem, sample))
                    samples[problem, column] += outcome is not None
                    solved[problem, column] += outcome is True
        return samples, solved


def expected_failures(samples: Ints, solved: Ints, k: int) -> Floats:
    """[problems, members]: the chance that k fresh samples fail, also for k beyond what was drawn.

    Each problem's chance has the posterior of its counts under a Beta distribution over problems, fitted per member.
    """
    failures = np.ones(samples.shape)
    for member in range(samples.shape[1]):
        a, b = beta_over_problems(samples[:, member], solved[:, member])
        failed = b + samples[:, member] - solved[:, member]
        drawn = a + b + samples[:, member]
        ahead = np.arange(k)[:, np.newaxis]
        failures[:, member] = np.prod((failed + ahead) / (drawn + ahead), axis=0)
    return failures
