"""Consensus sets: candidates that agree on everything, and how much each set is worth.

The tests are the candidates' own claims: for every shared input, every output that some candidate gave is a
plausible test (input, output), as often as it was given. A candidate passes those that claim what it does itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alpharay.router.draw import Candidate

# A priori few plausible tests or solutions are right by chance alone: B4's authors tune ALPHA_XY around 1e3
# and BETA_0 (a wrong solution seldom passes a wrong test) from 1e4 to 1e6.
ALPHA_XY, BETA_0 = 1e3, 1e5


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The passing matrix E, in the sizes that selection needs.

    sets: indices of the candidates with the same behaviour. passes[s]: tests that set s passes.
    right[s]: cells in which another candidate passes one of those. wrong[s]: cells in which it passes another test.
    tests: all of them, at most candidates x inputs.
    """

    sets: tuple[tuple[int, ...], ...]
    passes: tuple[int, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    tests: int


def agreement(behaviours: Sequence[tuple[str | None, ...]]) -> Agreement:
    """behaviours: what each candidate gave for each shared input; None: nothing. Shorter ones gave nothing more.

    A candidate that gave nothing at all is a set of its own, which passes nothing. Linear in all outputs together:
    the n candidates that gave an output are also the n tests that claim it.
    """
    groups: dict[object, list[int]] = {}
    for index, behaviour in enumerate(behaviours):
        useful = any(output is not None for output in behaviour)
        groups.setdefault(_trimmed(behaviour) if useful else index, []).append(index)
    sets = tuple(map(tuple, groups.values()))
    claims = Counter(claim for behaviour in behaviours for claim in _claims(behaviour))
    cells = sum(count * count for count in claims.values())
    passes, right, wrong = [], [], []
    for members in sets:
        counts = [claims[claim] for claim in _claims(behaviours[members[0]])]
        passes.append(sum(counts))
        right.append(sum(count * (count - len(members)) for count in counts))
        wrong.append(cells - sum(count * count for count in counts))
    return Agreement(
        sets=sets, passes=tuple(passes), right=tuple(right), wrong=tuple(wrong), tests=claims.total()
    )


def _trimmed(behaviour: tuple[str | None, ...]) -> tuple[str | None, ...]:
    length = max((index + 1 for index, output in enumerate(behaviour) if output is not None), default=0)
    return behaviour[:length]


def _claims(behaviour: tuple[str | None, ...]) -> set[tuple[int, str]]:
    return {(column, output) for column, output in enumerate(behaviour) if output is not None}


def codet(matrix: Agreement) -> list[float]:
    """Each set's |T| sqrt(|S|): the tests it passes, by the square root of its size.

    Source: CodeT, arXiv:2207.10397.
    """
    return [
        passed * math.sqrt(len(members)) for members, passed in zip(matrix.sets, matrix.passes, strict=True)
    ]


def b4(matrix: Agreement, *, alpha_xy: float = ALPHA_XY, beta_0: float = BETA_0) -> list[float]:
    """Each set's log posterior up to a constant: that its solutions and the tests they pass are the right ones.

    Four log-Beta terms, with N solutions, M tests, S and T those of the set, and E the passing matrix:
    ln B(|T| + a, M - |T| + 1) + ln B(|S| + a, N - |S| + 1), the prior of right tests and of right solutions,
    + ln B(p + 1, n - p + 1) of the n = (N - |S|) |T| cells where the others meet right tests (p pass),
    + ln B(q + 1, m - q + b) of the m = (N - |S|) (M - |T|) cells where they meet wrong ones (q pass).
    Source: B4, arXiv:2409.08692; a is its alpha_xy, b its beta_0.
    """
    solutions = sum(map(len, matrix.sets))
    scores = []
    for members, passed, right, wrong in zip(
        matrix.sets, matrix.passes, matrix.right, matrix.wrong, strict=True
    ):
        others = solutions - len(members)
        cells = others * (matrix.tests - passed)
        scores.append(
            _log_beta(passed + alpha_xy, matrix.tests - passed + 1)
            + _log_beta(len(members) + alpha_xy, others + 1)
            + _log_beta(right + 1, others * passed - right + 1)
            + _log_beta(wrong + 1, cells - wrong + beta_0)
        )
    return scores


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def per_candidate(
    candidates: Sequence[Candidate], worth: Callable[[Agreement], Sequence[float]]
) -> dict[int, float]:
    """What each candidate's consensus set is worth, by the index of its draw."""
    matrix = agreement([candidate.evidence.behaviour for candidate in candidates])
    return {
        candidates[index].draw.index: score
        for members, score in zip(matrix.sets, worth(matrix), strict=True)
        for index in members
    }


def sizes(matrix: Agreement) -> list[float]:
    """How many agree; 0 for one that gave nothing."""
    return [
        float(len(members)) if passed else 0.0
        for members, passed in zip(matrix.sets, matrix.passes, strict=True)
    ]
