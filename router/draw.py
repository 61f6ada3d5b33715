"""The data types of one request: its members, its draws and their candidates; and the seeds of its draws.

Seeds never overlap within a request and practically never between requests.
An engine repeats itself for the same prompt and seed, so a second draw with the same seed is wasted. A seed has 63
bits: the request's own part, then the member, then the sample:

    43 bits of mix(request seed) | 8 bits member index | 12 bits sample index

The mix is a bijection of 64 bits, so that neighbouring request seeds (clients count 1, 2, 3, …)
do not get neighbouring ranges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from alpharay.judge.verdict import Verdict, VerdictKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One served point of the frontier.

    alpha: unitless, counted from the endpoint `low`; outside [0, 1] it extrapolates. None off the line low..high.
    weights: (checkpoint name, weight) pairs; empty where they are unknown or alpha determines them.
    """

    name: str
    alpha: float | None = None
    weights: tuple[tuple[str, float], ...] = ()

    @property
    def point(self) -> dict[str, float]:
        """Weights by checkpoint. A member without weights and alpha counts as a checkpoint of its own."""
        if self.weights:
            return dict(self.weights)
        if self.alpha is not None:
            return {"low": 1.0 - self.alpha, "high": self.alpha}
        return {self.name: 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One sample that is to be drawn.

    index: 0, 1, … in the order in which the session decided on them.
    sample: 0, 1, … among its member's samples.
    seed: the engine's sampling seed; no two draws of a request share one, whatever their turn.
    turn: 1 for a first attempt. repairs: the index of the draw that a later turn repairs.
    """

    index: int
    member: str
    sample: int
    seed: int
    turn: int = 1
    repairs: int | None = None


class Decision(StrEnum):
    """A scorer's word on a candidate. TIE: it looked and cannot decide. ABSTAIN: it has not looked, or cannot."""

    ACCEPT = "accept"
    REJECT = "reject"
    TIE = "tie"
    ABSTAIN = "abstain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a selector may know about a candidate besides its verdict; every field is optional.

    behaviour: its output for each of the request's shared inputs, in order; None: no output.
    logprob: mean natural log-probability of its tokens. certainty: its self-certainty.
    answer: what its text claims, normalised. decision: a scorer's, see `Decision`.
    """

    behaviour: tuple[str | None, ...] = ()
    logprob: float | None = None
    certainty: float | None = None
    answer: str | None = None
    decision: Decision | None = None


NO_EVIDENCE = Evidence()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A finished draw, judged or not.

    verdict: None if the request has no tests or the judge was unreachable. payload: the finished response in the form
    the driver needs; the router never reads it.
    """

    draw: Draw
    verdict: Verdict | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    payload: Any = None
    evidence: Evidence = NO_EVIDENCE

    @property
    def accepted(self) -> bool:
        return self.verdict is not None and self.verdict.verdict is VerdictKind.ACCEPTED

    @property
    def failed(self) -> bool:
        """Judged and not accepted. Judge errors count too: a program may cause one."""
        return self.verdict is not None and not self.verdict.passed

    @property
    def score(self) -> float:
        """Share of tests passed, in [0, 1]; 0 if not judged."""
        if self.verdict is None or not self.verdict.total:
            return float(self.accepted)
        return self.verdict.passed / self.verdict.total


_MEMBER_BITS = 8
_SAMPLE_BITS = 12
MAX_MEMBERS = 1 << _MEMBER_BITS
MAX_SAMPLES_PER_MEMBER = 1 << _SAMPLE_BITS
_MASK = (1 << 64) - 1


def mix(seed: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): a bijection of 64-bit integers."""
    seed = (seed + 0x9E3779B97F4A7C15) & _MASK
    seed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    seed = ((seed ^ (seed >> 27)) * 0x94D049BB133111EB) & _MASK
    return seed ^ (seed >> 31)


def draw_seed(request_seed: int, member: int, sample: int) -> int:
    """The seed of a member's sample, in [0, 2^63).

    member, sample: indices counted from 0, below MAX_MEMBERS and MAX_SAMPLES_PER_MEMBER.
    """
    return draw_seeds(request_seed, [(member, sample)])[0]


def draw_seeds(request_seed: int, samples: Iterable[tuple[int, int]]) -> list[int]:
    """The seeds of several samples of one request. samples: (member, sample) each, as `draw_seed` has them."""
    own_bits = _MEMBER_BITS + _SAMPLE_BITS
    request_part = mix(request_seed) >> (own_bits + 1) << own_bits
    seeds = []
    for member, sample in samples:
        if not (0 <= member < MAX_MEMBERS and 0 <= sample < MAX_SAMPLES_PER_MEMBER):
            raise ValueError(
                f"no seed is kept for member {member}, sample {sample}: "
                f"a request has at most {MAX_MEMBERS} members and {MAX_SAMPLES_PER_MEMBER} samples of each"
            )
        seeds.append(request_part | member << _SAMPLE_BITS | sample)
    return seeds


def fields_of(value: Any) -> dict[str, Any]:
    """As `dataclasses.asdict`, of a dataclass with slots. Nothing is copied: that would be half of what recording a sample takes."""
    return {name: getattr(value, name) for name in value.__slots__}
