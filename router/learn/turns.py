"""Draw again, or show a failed attempt what failed and let its member repair it?

Both are bets on the same budget. How often either has paid after a verdict of that kind is learnt from the
log; each sample goes to the bet that wins a draw from the two posteriors (Thompson sampling), so that the
worse one is tried less and less, but not never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from alpharay.judge.verdict import VerdictKind
from alpharay.router.draw import Candidate
from alpharay.router.learn.logged_outcome import OutcomeClass

# One solution in ten, known as well as from ten samples: the same for both bets, so that they start equal.
_PRIOR_SOLVED, _PRIOR_FAILED = 1.0, 9.0

Tally = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TurnRates:
    """(solved, judged) per verdict kind.

    repaired: of later turns, by the verdict of the attempt that they repair.
    again: of first attempts, by the verdicts that earlier draws of their request had come to.
    """

    repaired: Mapping[VerdictKind, Tally] = field(default_factory=dict)
    again: Mapping[VerdictKind, Tally] = field(default_factory=dict)


def repairable(candidates: Sequence[Candidate], turns: int) -> list[Candidate]:
    """Failed attempts that a further turn may still repair, the nearest to passing first.

    Each is repaired once; what comes of that may be repaired in its turn, up to `turns` in all.
    """
    repaired = {candidate.draw.repairs for candidate in candidates}
    failed = [
        candidate
        for candidate in candidates
        if candidate.verdict is not None
        and OutcomeClass.of(candidate.verdict.verdict) in (OutcomeClass.INCORRECT, OutcomeClass.INEFFICIENT)
        and candidate.draw.turn < turns
        and candidate.draw.index not in repaired
    ]
    return sorted(failed, key=lambda candidate: (-candidate.score, candidate.draw.index))


def to_repair(failed: Sequence[Candidate], samples: int, rates: TurnRates, dice: Random) -> list[Candidate]:
    """Which of them get one of the next samples each; the other samples are for new draws."""
    chosen: list[Candidate] = []
    waiting = list(failed)
    for _ in range(samples):
        if not waiting:
            break
        assert waiting[0].verdict is not None
        kind = waiting[0].verdict.verdict
        if _drawn(rates.repaired.get(kind, (0, 0)), dice) > _drawn(rates.again.get(kind, (0, 0)), dice):
            chosen.append(waiting.pop(0))
    return chosen


def _drawn(tally: Tally, dice: Random) -> float:
    solved, judged = tally
    return dice.betavariate(_PRIOR_SOLVED + solved, _PRIOR_FAILED + judged - solved)
