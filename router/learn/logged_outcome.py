"""The log's row of one judged draw; all learnt state is a fold over these rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Self

from alpharay.judge.verdict import CORRECTNESS_FAILURES, EFFICIENCY_FAILURES, VerdictKind
from alpharay.router.draw import Candidate, fields_of

# Beyond these a row is damaged; one such number would stay in everything that is learnt after it.
_LARGEST_FEATURE, _LARGEST_COUNT = 1e6, 1 << 40


class OutcomeClass(IntEnum):
    """What a policy distinguishes of a verdict: solved, or why not. Also the columns of every count."""

    SOLVED = 0
    INCORRECT = 1
    INEFFICIENT = 2

    @classmethod
    def of(cls, verdict: VerdictKind) -> OutcomeClass | None:
        """None for a judge error: it says nothing about the member."""
        return OUTCOME_CLASSES.get(verdict)


OUTCOME_CLASSES: Mapping[VerdictKind, OutcomeClass] = {
    VerdictKind.ACCEPTED: OutcomeClass.SOLVED,
    **dict.fromkeys(CORRECTNESS_FAILURES, OutcomeClass.INCORRECT),
    **dict.fromkeys(EFFICIENCY_FAILURES, OutcomeClass.INEFFICIENT),
}


class Source(StrEnum):
    """The source of a verdict: the judge, or the client that ran the answer itself."""

    JUDGE = "judge"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOutcome:
    """One judged draw.

    request, draw: the request's id and the draw's index in it; feedback on a draw carries the same two.
    alpha, weights: of the member; the weights by checkpoint, (name, weight) each. passed, total: test cases. failed_level: level of the first case that failed.
    turn: 1 for a first attempt. repaired: for a later turn, the verdict of the attempt that it repairs.
    features: of the prompt (`router/learn/features.py`); empty when none were taken. Within a million of zero.
    """

    request: str
    draw: int
    member: str
    alpha: float | None
    verdict: VerdictKind
    weights: tuple[tuple[str, float], ...] = ()
    passed: int = 0
    total: int = 0
    failed_level: int | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    turn: int = 1
    repaired: VerdictKind | None = None
    features: tuple[float, ...] = ()
    source: Source = Source.JUDGE

    def __post_init__(self) -> None:
        if self.alpha is not None and not math.isfinite(self.alpha):
            raise ValueError(f"alpha must be a finite number, got {self.alpha}")
        for name, weight in self.weights:
            if not (isinstance(name, str) and math.isfinite(weight)):
                raise ValueError(f"the weight of {name!r} must be a finite number, got {weight!r}")
        if not all(abs(value) <= _LARGEST_FEATURE for value in self.features):
            raise ValueError(f"features must be finite numbers of at most {_LARGEST_FEATURE:g}")
        for name in ("draw", "passed", "total", "prompt_tokens", "completion_tokens", "turn"):
            value = getattr(self, name)
            if not (isinstance(value, int) and 0 <= value <= _LARGEST_COUNT):
                raise ValueError(f"{name} must be a count, got {value!r}")
        if not (isinstance(self.request, str) and isinstance(self.member, str)):
            raise TypeError("request and member must be names")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; floats come back exactly."""
        return fields_of(self) | {"features": list(self.features), "weights": dict(self.weights)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` gave. Keys of a later version are let pass; a bad value raises."""
        known = {name: value[name] for name in cls.__slots__ if name in value}
        repaired = known.get("repaired")
        return cls(
            **known
            | {
                "verdict": VerdictKind(known["verdict"]),
                "repaired": None if repaired is None else VerdictKind(repaired),
                "features": tuple(map(float, known.get("features", ()))),
                "weights": tuple((known.get("weights") or {}).items()),
                "source": Source(known.get("source", Source.JUDGE)),
            }
        )


def logged_outcome_of(
    candidate: Candidate,
    *,
    request: str,
    alpha: float | None,
    weights: Sequence[tuple[str, float]] = (),
    repaired: VerdictKind | None = None,
    failed_level: int | None = None,
    features: Sequence[float] = (),
) -> LoggedOutcome | None:
    """The logged outcome of a candidate; None if it was not judged or the judge failed."""
    verdict = candidate.verdict
    if verdict is None or verdict.verdict not in OUTCOME_CLASSES:
        return None
    return LoggedOutcome(
        request=request,
        draw=candidate.draw.index,
        member=candidate.draw.member,
        alpha=alpha,
        weights=tuple(weights),
        verdict=verdict.verdict,
        passed=verdict.passed,
        total=verdict.total,
        failed_level=failed_level,
        prompt_tokens=candidate.prompt_tokens,
        completion_tokens=candidate.completion_tokens,
        turn=candidate.draw.turn,
        repaired=repaired,
        features=tuple(features),
    )
