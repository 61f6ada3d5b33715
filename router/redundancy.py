"""How often samples repeat each other: distinct programs and behaviours among the samples of a problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpharay.judge.verdict import VerdictKind
from alpharay.router.outcomes import CODE, VERDICTS, Outcomes
from alpharay.router.passk import failure_curve

Ints = NDArray[np.int64]

SAMPLES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Redundancy:
    """Means over problems. programs: distinct completions; None where their hashes were not recorded.

    behaviours: distinct pairs of verdict and level of the first case that failed. samples: the number of samples they
    are counted among.
    """

    samples: int
    programs: float | None
    behaviours: float


def redundancy(outcomes: Outcomes, members: Sequence[int], most: int = SAMPLES) -> Redundancy | None:
    """Of those members' samples together, each having the same part of them if it was sampled as often.

    Expected among `most` samples drawn without replacement, or as many as the problem with the fewest has. None: a
    problem has no judged sample.
    """
    rows = np.isin(outcomes.member, members) & (outcomes.verdict != CODE[VerdictKind.JUDGE_ERROR])
    problem = outcomes.problem[rows]
    drawn = np.bincount(problem, minlength=len(outcomes.problems))
    samples = int(min(most, drawn.min(initial=most)))
    if not samples:
        return None
    levels = outcomes.failed_level[rows]
    behaviour = (levels - levels.min()) * len(VERDICTS) + outcomes.verdict[rows]
    texts = outcomes.text_sha256[rows]
    return Redundancy(
        samples=samples,
        programs=_distinct(problem, np.unique(texts, return_inverse=True)[1], drawn, samples)
        if (texts != "").all()
        else None,
        behaviours=_distinct(problem, behaviour, drawn, samples),
    )


def _distinct(problem: Ints, kind: Ints, drawn: Ints, samples: int) -> float:
    """Mean over problems of the expected number of distinct kinds among `samples` draws: a kind is present unless all
    miss it.
    """
    pairs, times = np.unique(np.stack([problem, kind]), axis=1, return_counts=True)
    missing = failure_curve(drawn[pairs[0]], times, samples)[samples]
    return float((1 - missing).sum() / len(drawn))
