"""A schedule: which member each sample of a request goes to, 1, 2, 3, …, for any budget at once.

A request ends at its first pass, so the order of its samples is what counts. The schedule is chosen greedily: each
sample goes to the member that covers most of what the samples before it leave unsolved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Samples of a recommended schedule; past its end it repeats its second half.
SCHEDULED = 250
# Leading samples of a schedule; the first wave has one sample for each member among them.
_FRONT = 16
# A run continues while another sample of its member gains at least this share of the best member's gain. Without it
# nearly equal members alternate, and the schedule is unreadable.
_STAYS = 0.98


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What `portfolio` follows: a schedule, or, of a file without one, the parts of a budget.

    schedule: a member's name for each sample. weights: per member's name. With both empty the split is learnt.
    """

    schedule: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)

    def first_wave(self, members: Iterable[str]) -> int:
        """Samples in the first wave: the number of distinct members at the front of the schedule for these members; 0
        if it names none of them.
        """
        drawable = set(members)
        turns = [name for name in self.schedule if name in drawable]
        return len(set(turns[:_FRONT]))

    def as_json(self) -> dict[str, Any]:
        return {"schedule": [list(run) for run in runs_of(self.schedule)], "weights": dict(self.weights)}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Recommendation:
        """Reads `as_json`, and the plain weights that earlier versions recorded."""
        if "schedule" not in recorded:
            return cls(weights=dict(recorded))
        return cls(expanded(recorded["schedule"]), dict(recorded["weights"]))


def greedy_schedule(samples: Any, solved: Any, length: int) -> Ints:
    """[length] member numbers, each the member that covers most of what those before it leave unsolved.

    samples, solved: [problems, members], recorded samples and those that passed. Solve probabilities are shrunk by
    one pseudo-sample that passes as often as the member's samples do over all problems.

    Raises ValueError: no problems, or a length below 1.
    """
    drawn, passed = np.asarray(samples, dtype=np.int64), np.asarray(solved, dtype=np.int64)
    if length < 1 or not drawn.size:
        raise ValueError(f"a schedule needs a length of at least 1 and some problems, got {length}")
    everyone = np.full((1, len(drawn)), 1 / len(drawn))
    return np.asarray(greedy_schedules(shrunk_chances(drawn, passed), everyone, length)[0])


def shrunk_chances(samples: Ints, solved: Ints) -> Floats:
    """[problems, members]"""
    mean = (solved.sum(axis=0) + 0.5) / (samples.sum(axis=0) + 1)
    return np.asarray((solved + mean) / (samples + 1))


def greedy_schedules(chances: Floats, weights: Floats, length: int) -> Ints:
    """[sets, length]: the schedules of several sets of problems at once, for bootstraps.

    chances: [problems, members]. weights: [sets, problems], how much each problem counts in each set.
    """
    left = weights.copy()  # problem weight times the probability that it is still unsolved
    rows = np.arange(len(weights))
    schedules = np.empty((len(weights), length), dtype=np.int64)
    for position in range(length):
        gain = left @ chances
        member = gain.argmax(axis=1)
        if position:
            last = schedules[:, position - 1]
            member = np.where(gain[rows, last] >= _STAYS * gain[rows, member], last, member)
        schedules[:, position] = member
        left *= 1 - chances[:, member].T
    return schedules


def splits_of(schedule: Sequence[str], budgets: Sequence[int]) -> dict[int, dict[str, int]]:
    """Per budget, the schedule's samples of each member; budgets beyond its end are omitted."""
    return {k: dict(Counter(schedule[:k])) for k in budgets if k <= len(schedule)}


def next_turns(
    schedule: Sequence[str], drawable: Sequence[str], drawn: Mapping[str, int], samples: int
) -> list[str]:
    """The members of the next samples; empty where the schedule names none that can be drawn from.

    drawn: per member name, the samples that it has had: they take its first turns. Turns of members that cannot be
    drawn from go to the next in the schedule, and are made up for where such a member is back. Past its end the
    schedule repeats its second half, which is what it chose where nothing before had passed.
    """
    turns = [name for name in schedule if name in set(drawable)]
    if not turns:
        return []
    spent = Counter({name: drawn.get(name, 0) for name in drawable})
    chosen: list[str] = []
    for name in _endless(turns):
        if len(chosen) == samples:
            break
        if spent[name] > 0:
            spent[name] -= 1
        else:
            chosen.append(name)
    return chosen


def runs_of(schedule: Sequence[str]) -> list[tuple[str, int]]:
    """Run-length encoded: (member, samples in a row)."""
    return [(name, len(list(run))) for name, run in groupby(schedule)]


def expanded(runs: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    return tuple(name for name, length in runs for _ in range(length))


def _endless(turns: Sequence[str]) -> Iterator[str]:
    yield from turns
    while True:
        yield from turns[len(turns) // 2 :]
