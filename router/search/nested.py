"""The results of a search, measured on problems that none of its choices used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpharay.router.intervals import mean_interval
from alpharay.router.passk import filled_failure_curve, split_failure
from alpharay.router.schedule import SCHEDULED, greedy_schedule
from alpharay.router.search.halving import ALL, Search, Subject, expected_failures
from alpharay.router.search.points import Point

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

RESAMPLES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Shares of problems solved per budget; each fold is solved by what was chosen without it.

    schedule, per_budget, single_point: by the schedule, by the best point of that budget, by one point for all budgets.
    gain: the schedule less the single point, (value, low, high), by a bootstrap over problems that keeps the choices;
    the intervals of all budgets hold together.
    hindsight: of the best finalist per budget on the same problems it is chosen on, which is optimistic. subjects: of
    every finalist and baseline alone, on all problems. point: the best point for all budgets, by all problems.
    """

    schedule: Mapping[int, float]
    per_budget: Mapping[int, float]
    single_point: Mapping[int, float]
    hindsight: Mapping[int, float]
    gain: Mapping[int, tuple[float, float, float]]
    subjects: Mapping[Subject, Mapping[int, float]]
    point: Point
    recommended: tuple[Point, ...]

    @property
    def one_suffices(self) -> bool:
        """Whether at no budget the schedule is beyond chance ahead of the single point."""
        return not any(low > 0 for _, low, _ in self.gain.values())


def measured(search: Search, *, length: int = SCHEDULED) -> Measured:
    """length: of the recommended schedule. The search must be done.

    Budgets beyond the samples that the finalists have are chosen for and not measured: to extrapolate each member by
    itself would make an ensemble of members that are all alike look better than any of them.
    """
    plan = search.plan
    problems = plan.problems
    points = search.finalists(ALL)
    subjects: list[Subject] = [*dict.fromkeys([*points, *plan.kept]), *plan.baselines]
    enough = min(
        search.samples[subject] for fold in (*range(plan.folds), ALL) for subject in search.finalists(fold)
    )
    budgets = tuple(k for k in plan.budgets if k <= enough)
    most = max(budgets, default=0)
    ways = {
        way: {k: np.zeros(problems) for k in budgets} for way in ("schedule", "per_budget", "single_point")
    }
    for fold in range(plan.folds):
        chosen = search.finalists(fold)
        samples, solved = search.counts(chosen)
        held = search.fold_of == fold
        curves = filled_failure_curve(samples[held], solved[held], most)
        schedule = greedy_schedule(samples[~held], solved[~held], max(plan.budgets))
        single = _best_for_all(samples[~held], solved[~held], plan.budgets)
        for k in budgets:
            best = int(expected_failures(samples[~held], solved[~held], k).mean(axis=0).argmin())
            split = np.bincount(schedule[:k], minlength=len(chosen)).tolist()
            ways["schedule"][k][held] = 1 - split_failure(curves, split)
            ways["per_budget"][k][held] = 1 - curves[k][:, best]
            ways["single_point"][k][held] = 1 - curves[k][:, single]
    samples, solved = search.counts(points)
    alone = filled_failure_curve(*search.counts(subjects), most)
    return Measured(
        schedule=_means(ways["schedule"]),
        per_budget=_means(ways["per_budget"]),
        single_point=_means(ways["single_point"]),
        hindsight={k: float(1 - alone[k][:, : len(points)].mean(axis=0).min()) for k in budgets},
        gain={
            k: mean_interval(
                ways["schedule"][k] - ways["single_point"][k],
                seed=plan.seed,
                resamples=RESAMPLES,
                comparisons=len(budgets),
            )
            for k in budgets
        },
        subjects={
            subject: {k: float(1 - alone[k][:, column].mean()) for k in budgets}
            for column, subject in enumerate(subjects)
        },
        point=points[_best_for_all(samples, solved, plan.budgets)],
        recommended=tuple(points[member] for member in greedy_schedule(samples, solved, length)),
    )


def _best_for_all(samples: Ints, solved: Ints, budgets: tuple[int, ...]) -> int:
    """Minimax regret: the member whose largest loss over the budgets is smallest."""
    shares = np.stack([1 - expected_failures(samples, solved, k).mean(axis=0) for k in budgets])
    return int((shares - shares.max(axis=1, keepdims=True)).min(axis=0).argmax())


def _means(values: Mapping[int, Floats]) -> dict[int, float]:
    return {k: float(each.mean()) for k, each in values.items()}
