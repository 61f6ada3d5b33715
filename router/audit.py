"""Does an ensemble pay? Measured on recorded outcomes, at the same number of samples, on held-out problems.

Nothing here is chosen and judged on the same problems: the best single member and the portfolio of a fold
come from the other folds, the oracle's member of a problem from the other half of its samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpharay.router.first_order import Reason, reason, worth_after
from alpharay.router.intervals import middle
from alpharay.router.outcomes import Counts, Outcomes
from alpharay.router.passk import (
    budgets_up_to,
    filled_failure_curve,
    split_failure,
    uniform_failure,
)
from alpharay.router.redundancy import Redundancy, redundancy
from alpharay.router.schedule import SCHEDULED, greedy_schedule, splits_of

Floats = NDArray[np.float64]

FOLDS = 5
RESAMPLES = 4000
_HALVINGS = 20
_REPEATS = 10
# Smaller differences are rounding errors.
_NOTHING = 1e-9


class TooLittle(ValueError):
    """The outcomes are too few for an audit; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95 % bootstrap interval over problems; shares, or differences of shares."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies entirely above or below 0, else 0."""
        return int(self.low > _NOTHING) - int(self.high < -_NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberAudit:
    """One member alone. samples: its judged samples. incorrect, inefficient: shares of those samples."""

    alpha: float | None
    samples: int
    pass_at: Mapping[int, float]
    incorrect: Interval
    inefficient: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """A way to spend k samples. gain: over the cross-validated best single member, paired by problem.

    splits: samples of each member, where a single split was chosen on all problems.
    """

    pass_at: Mapping[int, float]
    gain: Mapping[int, Interval]
    splits: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Everything that an audit measures. Keys of mappings by k are sample budgets.

    left_out: problems that some member has too few samples of. judge_errors: samples not counted.
    best_single: what one would serve alone; single: how such a choice does on problems it was not made on;
    hindsight: the best member of each k on the very problems, which flatters it.
    schedule: the members of samples 1, 2, 3, …, chosen from all problems; `portfolio` is how such a choice does.
    oracle: the best member of each problem, known beforehand: measured for k up to half of the samples.
    reasons: the first-order test of each k up to half of the samples. redundancy: of each member, and of the
    frontier's members together.
    solves_alone: share of problems that a member solves with complement_at samples while another fails,
    [solver, failer]. baselines: equal splits over members that are not of the frontier.
    """

    problems: int
    left_out: int
    judge_errors: int
    budget: int
    members: Mapping[str, MemberAudit]
    frontier: tuple[str, ...]
    best_single: str
    single: Mapping[int, float]
    hindsight: Mapping[int, float]
    uniform: Ensemble
    portfolio: Ensemble
    schedule: tuple[str, ...]
    oracle: Ensemble
    baselines: Mapping[str, Ensemble]
    baseline_members: Mapping[str, tuple[str, ...]]
    complement_at: int
    solves_alone: Floats
    only_one: Mapping[str, float]
    reasons: Mapping[int, Reason]
    redundancy: Mapping[str, Redundancy]
    redundancy_across: Redundancy | None

    def pays_at(self, k: int) -> bool:
        """Whether the portfolio beats the cross-validated best single member beyond chance, and also the best
        one with hindsight: among members that are nearly alike, cross-validation picks unluckily more often
        than not, and that alone must not make an ensemble look good.
        """
        return self.portfolio.gain[k].sign > 0 and self.portfolio.pass_at[k] > self.hindsight[k]


def audit(
    outcomes: Outcomes,
    *,
    budget: int | None = None,
    baselines: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Audit:
    """The audit of recorded outcomes.

    budget: the budget that the decision is about; None: the largest that every frontier member has samples for.
    baselines: groups of members outside the frontier, by the group's name.
    resamples: bootstrap samples of the problems.

    Raises TooLittle.
    """
    whole = outcomes.counts
    complete = whole.complete
    if complete.sum() < 2:
        raise TooLittle(
            f"an audit needs at least 2 problems of which every member has as many samples as of most, "
            f"there {'is 1' if complete.sum() == 1 else 'are none'} of {len(complete)}"
        )
    table = _Table(outcomes, whole.at(complete), baselines or {}, budget, seed, resamples)
    single, chosen = table.best_single()
    uniform = {k: 1 - uniform_failure(table.curves[..., table.frontier], k) for k in table.budgets}
    portfolio, numbers = table.portfolio()
    schedule = tuple(outcomes.members[table.frontier[number]].name for number in numbers)
    oracle = table.oracle()
    groups = {name: table.numbers(group) for name, group in table.groups.items()}
    baseline_values = {
        name: {
            k: 1 - uniform_failure(table.curves[..., group], k)
            for k in table.budgets
            if k <= table.least(group)
        }
        for name, group in groups.items()
    }
    at = table.budgets[-1]
    solved = 1 - table.curves[at][:, table.frontier]
    return Audit(
        problems=int(complete.sum()),
        left_out=int((~complete).sum()),
        judge_errors=int(whole.judge_errors.sum()),
        budget=table.budget,
        members={member.name: table.member(number) for number, member in enumerate(outcomes.members)},
        frontier=tuple(outcomes.members[number].name for number in table.frontier),
        best_single=chosen,
        single={k: each.value for k, each in single.items()},
        hindsight={
            k: float((1 - table.curves[k][:, table.frontier]).mean(axis=0).max()) for k in table.budgets
        },
        uniform=table.ensemble(uniform, single),
        portfolio=table.ensemble(portfolio, single, splits_of(schedule, table.budgets)),
        schedule=schedule,
        oracle=table.ensemble(oracle, single),
        baselines={name: table.ensemble(values, single) for name, values in baseline_values.items()},
        baseline_members=table.groups,
        complement_at=at,
        solves_alone=solved.T @ (1 - solved) / len(solved),
        only_one={
            outcomes.members[number].name: float(
                np.mean(solved[:, column] * np.prod(np.delete(1 - solved, column, axis=1), axis=1))
            )
            for column, number in enumerate(table.frontier)
        },
        reasons=table.reasons(),
        redundancy={
            member.name: each
            for number, member in enumerate(outcomes.members)
            if (each := redundancy(outcomes, [number])) is not None
        },
        redundancy_across=redundancy(outcomes, table.frontier.tolist()),
    )


@dataclass(frozen=True, slots=True)
class Single:
    """Share solved by a member that was chosen on other problems: the estimate, and its value in every bootstrap
    sample.
    """

    value: float
    resampled: Floats


def _chosen(weights: Floats, solved: Floats, held: NDArray[np.bool_]) -> Floats:
    """The share solved on held-out problems by the member that is best on the others; weights: [resamples,
    problems].
    """
    best = (weights[:, ~held] @ solved[~held]).argmax(axis=1)
    return np.asarray(np.take_along_axis(weights[:, held] @ solved[held], best[:, np.newaxis], axis=1)[:, 0])


class _Table:
    """The counts of the audited problems, and what is computed once from them.

    curves: [k, problems, members], the chance that k samples of a member fail; a problem with a few samples
    less than k counts with all it has.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        counts: Counts,
        baselines: Mapping[str, Sequence[str]],
        budget: int | None,
        seed: int,
        resamples: int,
    ) -> None:
        self._members = outcomes.members
        self._counts = counts
        self._seed = seed
        self.groups = {name: tuple(group) for name, group in baselines.items()}
        besides = {name for group in self.groups.values() for name in group}
        self.frontier = np.array([n for n, member in enumerate(self._members) if member.name not in besides])
        if not len(self.frontier):
            raise TooLittle(
                "every member of these outcomes is a baseline; an audit needs members of a frontier"
            )
        most = self.least(self.frontier)
        if budget is not None and budget > most:
            raise TooLittle(f"a budget of {budget} cannot be audited with {most} samples of each member")
        self.budget = budget or budgets_up_to(most)[-1]
        self.budgets = sorted({*budgets_up_to(most), self.budget})
        self.curves = filled_failure_curve(counts.samples, counts.solved, int(counts.typical.max()))
        problems = len(counts.samples)
        generator = np.random.default_rng(seed)
        # Repeated random folds: the mean depends less on the luck of a single split.
        self.folds = [generator.permutation(problems) % min(FOLDS, problems) for _ in range(_REPEATS)]
        # The weight of each problem in each bootstrap sample, shared by all estimates, so that differences are paired.
        self.resamples = (
            generator.multinomial(problems, np.full(problems, 1 / problems), resamples) / problems
        )

    def numbers(self, names: Sequence[str]) -> NDArray[np.int64]:
        known = [member.name for member in self._members]
        return np.array([known.index(name) for name in names])

    def least(self, members: NDArray[np.int64]) -> int:
        """Samples of nearly every problem that each of those members has."""
        return int(self._counts.typical[members].min())

    def gain(self, values: Floats, single: Single) -> Interval:
        """Interval of the mean over problems, less a best single member that each bootstrap sample chooses again.

        values: [problems]. Fixed choices would leave their own uncertainty out of the interval. It is centred on the
        estimate: a bootstrap sample holds problems twice, which makes choosing look easier than it is.
        """
        spread = self.resamples @ values - single.resampled
        low, high = middle(spread - spread.mean())
        gain = float(values.mean()) - single.value
        return Interval(value=gain, low=gain + low, high=gain + high)

    def ratio(self, part: NDArray[np.int64], whole: NDArray[np.int64]) -> Interval:
        """Interval of the ratio over all samples of the problems together; problems are resampled."""
        low, high = middle((self.resamples @ part) / (self.resamples @ whole))
        return Interval(value=float(part.sum() / whole.sum()), low=low, high=high)

    def member(self, number: int) -> MemberAudit:
        samples = self._counts.samples[:, number]
        most = int(self._counts.typical[number])
        return MemberAudit(
            alpha=self._members[number].alpha,
            samples=int(samples.sum()),
            pass_at={
                k: float(np.mean(1 - self.curves[k][:, number]))
                for k in sorted({*budgets_up_to(most), self.budget})
                if k <= most
            },
            incorrect=self.ratio(self._counts.incorrect[:, number], samples),
            inefficient=self.ratio(self._counts.inefficient[:, number], samples),
        )

    def best_single(self) -> tuple[dict[int, Single], str]:
        """For each k, the share solved by the best member of the other folds; and the best member over all problems."""
        by_budget = {}
        for k in self.budgets:
            solved = 1 - self.curves[k][:, self.frontier]
            mean, resampled = 0.0, np.zeros(len(self.resamples))
            everyone = np.full((1, len(solved)), 1 / len(solved))
            for fold_of in self.folds:
                for fold in range(fold_of.max() + 1):
                    held = fold_of == fold
                    mean += float(_chosen(everyone, solved, held)[0])
                    resampled += _chosen(self.resamples, solved, held)
            by_budget[k] = Single(mean / len(self.folds), resampled / len(self.folds))
        best = (1 - self.curves[self.budget][:, self.frontier]).mean(axis=0).argmax()
        return by_budget, self._members[self.frontier[best]].name

    def portfolio(self) -> tuple[dict[int, Floats], NDArray[np.int64]]:
        """For each k, the chance that the schedule of the other folds solves each problem; and the schedule of all
        problems.
        """
        samples, solved = self._counts.samples[:, self.frontier], self._counts.solved[:, self.frontier]
        curves = self.curves[..., self.frontier]
        values = {k: np.zeros(len(samples)) for k in self.budgets}
        for fold in range(self.folds[0].max() + 1):
            held = self.folds[0] == fold
            schedule = greedy_schedule(samples[~held], solved[~held], self.budgets[-1])
            for k in self.budgets:
                split = np.bincount(schedule[:k], minlength=len(self.frontier))
                values[k][held] = 1 - split_failure(curves[:, held], split.tolist())
        longest = max(SCHEDULED, self.budgets[-1])
        return values, greedy_schedule(samples, solved, longest)

    def reasons(self) -> dict[int, Reason]:
        """For k up to half of the samples: the worth of a sample after k failures needs samples beyond those k."""
        samples, solved = self._counts.samples[:, self.frontier], self._counts.solved[:, self.frontier]
        names = tuple(self._members[number].name for number in self.frontier)
        reasons = {}
        for k in self.budgets:
            if k <= self.least(self.frontier) // 2:
                failures = self.curves[k][:, self.frontier]
                worth = worth_after(samples, solved, failures, k)
                why = reason(worth, 1 - failures, names, self.folds[0], self.resamples)
                if why is not None:
                    reasons[k] = why
        return reasons

    def oracle(self) -> dict[int, Floats]:
        """For each k up to half of the samples, the member that did best on the other half of the problem's samples.

        A member chosen on few samples is sometimes the wrong one, so this is a lower bound; choosing and measuring on
        the same samples would give an upper bound, and a loose one.
        """
        samples, solved = self._counts.samples[:, self.frontier], self._counts.solved[:, self.frontier]
        budgets = [k for k in self.budgets if k <= self.least(self.frontier) // 2]
        values = {k: np.zeros(len(samples)) for k in budgets}
        generator = np.random.default_rng(self._seed + 1)
        rows = np.arange(len(samples))
        overall = (solved / np.maximum(samples, 1)).mean(axis=0)
        for _ in range(_HALVINGS if budgets else 0):
            half = samples // 2
            first = generator.hypergeometric(solved, samples - solved, half)
            for n, c, other_n, other_c in (
                (half, first, samples - half, solved - first),
                (samples - half, solved - first, half, first),
            ):
                # Ties on this problem go to the member that is best overall.
                best = (c / np.maximum(n, 1) + 1e-6 * overall).argmax(axis=1)
                curve = filled_failure_curve(other_n[rows, best], other_c[rows, best], max(budgets))
                for k in budgets:
                    values[k] += (1 - curve[k]) / (2 * _HALVINGS)
        return values

    def ensemble(
        self,
        values: Mapping[int, Floats],
        single: Mapping[int, Single],
        splits: Mapping[int, Mapping[str, int]] | None = None,
    ) -> Ensemble:
        return Ensemble(
            pass_at={k: float(value.mean()) for k, value in values.items()},
            gain={k: self.gain(value, single[k]) for k, value in values.items() if k in single},
            splits=splits or {},
        )


def advice(result: Audit) -> str:
    """The verdict in one plain sentence."""
    if len(result.frontier) == 1:
        return f"There is only one member, {result.best_single}: an ensemble needs at least two."
    k = result.budget
    gain = result.portfolio.gain[k]
    interval = f"95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    with_k = f"with {k} sample{'s' * (k > 1)}"
    elsewhere = _elsewhere(result)
    if result.pays_at(k):
        return (
            f"An ensemble pays: {with_k} the portfolio solves {100 * gain.value:.1f} points more of the problems than "
            f"the best single member, {result.best_single} ({interval})."
        )
    if gain.sign < 0:
        return (
            f"An ensemble does not pay {with_k}: the portfolio solves {-100 * gain.value:.1f} points fewer of the "
            f"problems than the best single member ({interval}); serve {result.best_single} alone{elsewhere}."
        )
    return (
        f"An ensemble does not measurably pay {with_k}: the portfolio differs from the best single member by "
        f"{100 * gain.value:+.1f} points ({interval}), which may be chance; serve {result.best_single} alone, "
        f"or measure more problems{elsewhere}."
    )


def _elsewhere(result: Audit) -> str:
    """A clause about the other budget at which an ensemble gains most, if there is one."""
    pays = [k for k in result.portfolio.gain if result.pays_at(k)]
    if not pays:
        return ""
    best = max(pays, key=lambda k: result.portfolio.gain[k].low)
    gain = result.portfolio.gain[best]
    return (
        f"; with {best} sample{'s' * (best > 1)} it does pay, by {100 * gain.value:.1f} points "
        f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    )


def why(result: Audit) -> str:
    """One sentence: what decides whether a split beats the best single member; empty where it cannot be tested."""
    k = max((k for k in result.reasons if k <= result.budget), default=None)
    if k is None:
        return ""
    reason = result.reasons[k]
    worth = f"{reason.worth:.2f} times [{reason.low:.2f}, {reason.high:.2f}]"
    verdict = "so it cannot be told whether a split pays there"
    if reason.low > 1:
        verdict = "so a split beats it there"
    elif reason.high < 1:
        verdict = "so no split beats it there"
    return (
        f"Why: on the problems that {k} sample{'s' * (k > 1)} of {reason.single} leave unsolved, a sample of another member "
        f"({reason.other}) is worth {worth} what one more of its own is, {verdict}."
    )
