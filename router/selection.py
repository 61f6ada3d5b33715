"""Selectors: the order in which finished candidates are answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from alpharay.judge.verdict import VerdictKind
from alpharay.router.draw import Candidate


def by_tests(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Best first: accepted ones, then by the share of tests passed, then those never judged.

    Ties go to the first drawn, so that a replay with the same seed selects the same answer.
    """

    def key(candidate: Candidate) -> tuple[bool, bool, float, int]:
        verdict = candidate.verdict
        # A candidate known to have failed outright is worth less than one that our own fault left unjudged.
        failed = verdict is not None and verdict.verdict is not VerdictKind.JUDGE_ERROR and not verdict.passed
        return (not candidate.accepted, failed, -candidate.score, candidate.draw.index)

    return sorted(candidates, key=key)


SELECTORS: dict[str, Callable[[Iterable[Candidate]], list[Candidate]]] = {"tests": by_tests}


def ranked(candidates: Sequence[Candidate], selector: str = "tests") -> list[Candidate]:
    """All candidates, best first, under the selector of that name."""
    return SELECTORS[selector](candidates)
