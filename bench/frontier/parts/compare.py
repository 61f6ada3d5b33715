"""What an ensemble solves beside one member at the same number of samples, with everything that is chosen chosen anew
in every bootstrap sample.

Prompts are resampled, of validation and test problems apart, the two problems of a prompt together: they share their
samples. The single member, the split and the schedule are chosen on the resampled validation problems; the best single
member with hindsight on the resampled test problems.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpharay.router.intervals import middle
from alpharay.router.passk import failure_curve, split_failure
from alpharay.router.schedule import greedy_schedules, shrunk_chances
from bench.frontier.parts.outcomes import Counted

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESAMPLES = 2000
SHARES = (0.25, 0.5, 0.75)  # of the first of two members, in the splits that are tried
ENDS = ("frontier@0", "frontier@1")

# What is compared, and what with.
ENSEMBLES = ("{0, 1}", "the split", "the schedule")
SINGLES = ("the single by validation", "the best single with hindsight", "init")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Shares solved with k samples. shares: per way of ENSEMBLES and SINGLES, [1 + RESAMPLES], the first as measured.

    members: of each member alone, as measured. names: of the single by validation, of the best with hindsight.
    split: what validation chose, samples by member.
    """

    k: int
    shares: dict[str, Floats]
    members: dict[str, float]
    names: tuple[str, str]
    split: dict[str, int]

    def gain(self, way: str, than: str) -> tuple[float, float, float]:
        """(points, low, high)"""
        difference = 100 * (self.shares[way] - self.shares[than])
        return (float(difference[0]), *middle(difference[1:]))


def compared(validation: Counted, test: Counted, budgets: Sequence[int]) -> list[Compared]:
    """Both of the same members, `frontier@0`, `frontier@1` and `init` among them, with as many samples as the largest budget.

    What is chosen on validation problems is chosen by the exact formula, as what is measured: chances that were shrunk by a
    pseudo-sample would be too low for a member that solves many problems seldom, and it would be chosen too seldom.
    """
    rng = np.random.default_rng(0)
    trial = _weights(len(test.samples), rng)
    chosen_on = _weights(len(validation.samples), rng)
    curves = failure_curve(*test.flat(), max(budgets))
    known = failure_curve(*validation.flat(), max(budgets))
    chances = shrunk_chances(*validation.flat())
    schedules = greedy_schedules(chances, np.repeat(chosen_on, 2, axis=1) / 2, max(budgets))
    return [_at(k, validation.members, known, curves, schedules, chosen_on, trial) for k in budgets]


def _weights(prompts: int, rng: np.random.Generator) -> Floats:
    """[1 + RESAMPLES, prompts], each row's sum 1: all prompts alike, then the bootstrap samples."""
    drawn = rng.multinomial(prompts, np.full(prompts, 1 / prompts), RESAMPLES) / prompts
    return np.concatenate([np.full((1, prompts), 1 / prompts), drawn])


def splits(members: int, k: int) -> Ints:
    """[splits, members]: every member alone, in order, then every two of them in some proportions."""
    rows = [k * np.eye(members, dtype=np.int64)]
    for first, second in itertools.combinations(range(members), 2):
        for share in SHARES:
            row = np.zeros((1, members), dtype=np.int64)
            row[0, first] = round(share * k)
            row[0, second] = k - row[0, first]
            rows.append(row)
    return np.concatenate(rows)


def _at(
    k: int, members: Sequence[str], known: Floats, curves: Floats, schedules: Ints, chosen_on: Floats, trial: Floats
) -> Compared:  # fmt: skip
    tried = splits(len(members), k)
    alone = slice(0, len(members))
    foreseen, measured = (
        weights @ _by_prompt(np.stack([1 - split_failure(each, split) for split in tried], axis=1))
        for weights, each in ((chosen_on, known), (trial, curves))
    )  # [1 + RESAMPLES, splits]
    rows = np.arange(len(trial))
    single, split = foreseen[:, alone].argmax(axis=1), foreseen.argmax(axis=1)
    best = measured[:, alone].argmax(axis=1)
    ends = [0] * len(members)
    for name, share in zip(ENDS, (k - k // 2, k // 2), strict=True):
        ends[members.index(name)] = share
    # An odd sample goes to each of the two as often.
    both = (1 - split_failure(curves, ends) + 1 - split_failure(curves, _swapped(ends, members))) / 2
    failed = np.ones((len(trial), curves.shape[1]))
    for member in range(len(members)):
        failed *= curves[(schedules[:, :k] == member).sum(axis=1), :, member]
    shares = {
        "{0, 1}": trial @ _by_prompt(both),
        "the split": measured[rows, split],
        "the schedule": (trial * _by_prompt((1 - failed).T).T).sum(axis=1),
        "the single by validation": measured[rows, single],
        "the best single with hindsight": measured[rows, best],
        "init": measured[:, members.index("init")],
    }
    return Compared(
        k=k,
        shares=shares,
        members={name: float(measured[0, column]) for column, name in enumerate(members)},
        names=(members[single[0]], members[best[0]]),
        split={name: int(n) for name, n in zip(members, tried[split[0]], strict=True) if n},
    )


def _swapped(split: Sequence[int], members: Sequence[str]) -> list[int]:
    low, high = (members.index(name) for name in ENDS)
    swapped = list(split)
    swapped[low], swapped[high] = split[high], split[low]
    return swapped


def _by_prompt(values: Floats) -> Floats:
    """[problems, ...] -> [prompts, ...], the mean of a prompt's two problems."""
    return values.reshape(-1, 2, *values.shape[1:]).mean(axis=1)
