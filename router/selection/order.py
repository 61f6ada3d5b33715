"""The selectors themselves. All of them take ties to the first drawn, so that a replay selects the same answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from alpharay.router.draw import Candidate, Decision
from alpharay.router.plugins import Registry
from alpharay.router.selection import consensus
from alpharay.router.selection.discriminate import agreements, contenders

Selector = Callable[[Sequence[Candidate]], list[Candidate]]


def by_tests(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Accepted ones, then by the share of tests passed, then those never judged.

    Ties by how many behave alike, then by log-probability, as far as these are known.
    """
    size = consensus.per_candidate(candidates, consensus.sizes)

    def key(candidate: Candidate) -> tuple[Any, ...]:
        # What failed outright is worth less than what nobody judged.
        return (
            not candidate.accepted,
            candidate.failed,
            -candidate.score,
            -size[candidate.draw.index],
            *_last(candidate),
        )

    return sorted(candidates, key=key)


def by_cluster(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Accepted ones, then the largest group that behaves alike; its likeliest first. AlphaCode's way, arXiv:2203.07814."""
    return _by_worth(candidates, consensus.sizes)


def by_codet(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Accepted ones, then by CodeT's score of the consensus set."""
    return _by_worth(candidates, consensus.codet)


def by_b4(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Accepted ones, then by B4's score of the consensus set."""
    return _by_worth(candidates, consensus.b4, nothing_last=True)


def _by_worth(
    candidates: Sequence[Candidate],
    worth: Callable[[consensus.Agreement], Sequence[float]],
    *,
    nothing_last: bool = False,
) -> list[Candidate]:
    scores = consensus.per_candidate(candidates, worth)

    def key(candidate: Candidate) -> tuple[Any, ...]:
        # By its prior alone B4 could prefer a lone candidate that never answered.
        silent = nothing_last and not any(output is not None for output in candidate.evidence.behaviour)
        return (
            not candidate.accepted,
            silent,
            candidate.failed,
            -scores[candidate.draw.index],
            -candidate.score,
            *_last(candidate),
        )

    return sorted(candidates, key=key)


def by_discriminate(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The contenders, by how many agree with them on the inputs that discriminate; then the others as `tests` has them."""
    chosen = contenders(candidates)
    worth = dict(
        zip(
            (candidate.draw.index for candidate in chosen),
            agreements([candidate.evidence.behaviour for candidate in chosen]).worth,
            strict=True,
        )
    )

    def key(candidate: Candidate) -> tuple[Any, ...]:
        return (-worth[candidate.draw.index], -candidate.score, *_last(candidate))

    others = [candidate for candidate in candidates if candidate.draw.index not in worth]
    return [*sorted(chosen, key=key), *by_tests(others)]


# `tie` and `abstain` differ in the scorer's reason, not in its decision on the candidate.
_DECIDED = {Decision.ACCEPT: 0, Decision.REJECT: 2}


def by_scorer(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Accepted ones, then those that a scorer accepts, those it does not decide on, those it rejects; each as `tests` has them."""

    def key(candidate: Candidate) -> tuple[Any, ...]:
        decision = candidate.evidence.decision or Decision.ABSTAIN
        return (not candidate.accepted, _DECIDED.get(decision, 1))

    return sorted(by_tests(candidates), key=key)


def by_majority(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The answer that most give, its likeliest first; for tasks without programs. Self-consistency, arXiv:2203.11171."""
    votes = Counter(candidate.evidence.answer for candidate in candidates)
    votes[None] = 0  # those that give none agree on nothing
    return sorted(candidates, key=lambda candidate: (-votes[candidate.evidence.answer], *_last(candidate)))


def by_logprob(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The most self-certain where the engine reports it of all, else the likeliest per token; those without either last."""
    if candidates and all(candidate.evidence.certainty is not None for candidate in candidates):
        return sorted(
            candidates, key=lambda candidate: (-_finite(candidate.evidence.certainty), candidate.draw.index)
        )
    return sorted(candidates, key=_last)


def _last(candidate: Candidate) -> tuple[float, int]:
    return (-_finite(candidate.evidence.logprob), candidate.draw.index)


def _finite(value: float | None) -> float:
    """Unknown, and what is no number, comes last."""
    return value if value is not None and math.isfinite(value) else -math.inf


# What `{url: …}` is within: a selector that no client names by itself.
SCORER = "scorer"

# Any other selector is a plug-in: a package names its function under this entry point group (docs/python.md).
SELECTORS: Registry[Selector] = Registry(
    "alpharay.selectors",
    {
        "tests": by_tests,
        "cluster": by_cluster,
        "codet": by_codet,
        "b4": by_b4,
        "discriminate": by_discriminate,
        "majority": by_majority,
        "logprob": by_logprob,
        SCORER: by_scorer,
    },
)
