"""Which members the embedded frontier of problems of two parts draws from, and in which order: found on validation problems.

It starts from the two endpoints. Another point is taken where the schedule over all of them solves more problems that it
was not chosen on: each prompt in turn is left out, the schedule is made for the others, and what it solves of the one
that was left out is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpharay.router.passk import failure_curve, split_failure
from alpharay.router.schedule import SCHEDULED, greedy_schedule, greedy_schedules, shrunk_chances
from bench.frontier.parts.compare import ENDS
from bench.frontier.parts.outcomes import Counted

LEAST_GAIN = 0.01  # share of problems that another member must add


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """schedule: a member's name for each sample.

    solved: the share of left-out problems that k samples of the schedule solve; even: that every other sample from
    either endpoint solves. single: of the member that is best on these very problems, its share.
    """

    k: int
    members: tuple[str, ...]
    schedule: tuple[str, ...]
    solved: float
    even: float
    best: str
    single: float


def scheduled(validation: Counted, k: int) -> Scheduled:
    """The members that pay at k samples, at most as many as there are of each member, and the schedule over them."""
    chosen, solved = list(ENDS), left_out(validation.only(ENDS), k)
    others = [name for name in validation.members if name not in ENDS]
    while others:
        name = max(others, key=lambda other: left_out(validation.only([*chosen, other]), k))
        share = left_out(validation.only([*chosen, name]), k)
        if share < solved + LEAST_GAIN:
            break
        chosen.append(name)
        others.remove(name)
        solved = share
    ends = failure_curve(*validation.only(ENDS).flat(), k)
    curves = failure_curve(*validation.flat(), k)
    alone = 1 - curves[k].mean(axis=0)
    order = greedy_schedule(*validation.only(chosen).flat(), SCHEDULED)
    return Scheduled(
        k=k,
        members=tuple(chosen),
        schedule=tuple(chosen[member] for member in order),
        solved=solved,
        even=float(1 - split_failure(ends, (k - k // 2, k // 2)).mean()),
        best=validation.members[int(alone.argmax())],
        single=float(alone.max()),
    )


def left_out(counted: Counted, k: int) -> float:
    """The share of problems that k samples solve, each prompt's by the schedule that is chosen without it."""
    prompts = len(counted.samples)
    weights = np.repeat(1 - np.eye(prompts), 2, axis=1)  # [prompts, problems]: a prompt has two problems
    schedules = greedy_schedules(shrunk_chances(*counted.flat()), weights, k)
    curves = failure_curve(*counted.flat(), k)
    return float(
        np.mean(
            [_solved(curves, schedules[prompt], prompt, len(counted.members)) for prompt in range(prompts)]
        )
    )


def _solved(curves: np.ndarray, schedule: Sequence[int], prompt: int, members: int) -> float:
    split = np.bincount(schedule, minlength=members)
    return float(1 - split_failure(curves[:, 2 * prompt : 2 * prompt + 2], split).mean())
