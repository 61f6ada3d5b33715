"""The learnt state of the members before a request begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from alpharay.router.learn.arms import Arm
from alpharay.router.learn.mixture import Mixture
from alpharay.router.learn.turns import TurnRates
from alpharay.router.schedule import Recommendation

# Assumed of a sample's length while nothing is known.
_TOKENS = 1000.0


@dataclass(frozen=True, slots=True)
class RouterState:
    """The learnt state that a request's policy sees; immutable.

    solved: per member name, how many judged samples of earlier requests were accepted.
    judged: per member name, how many were judged. Both may lack a member.
    folded: log rows that it was learnt from: the position in the store's log that reproduces it.
    turns: how often repairing a failed attempt paid, and how often drawing again.
    mixture: the types of problems seen; None before the first.
    arms: per member name, the bandit's model of it.
    tokens: per member name, what a sample of it takes on average, prompt included.
    portfolio: the schedule that an audit recommends; empty when none was made.
    foretells: whether the mixture predicted the latest requests significantly better than a schedule.
    """

    solved: Mapping[str, int] = field(default_factory=dict)
    judged: Mapping[str, int] = field(default_factory=dict)
    folded: int = 0
    turns: TurnRates = field(default_factory=TurnRates)
    mixture: Mixture | None = None
    arms: Mapping[str, Arm] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    portfolio: Recommendation = field(default_factory=Recommendation)
    foretells: bool = False

    def solve_rate(self, name: str) -> float:
        """Posterior mean under a uniform prior, so that one lucky sample does not settle it."""
        return (self.solved.get(name, 0) + 1) / (self.judged.get(name, 0) + 2)

    def tokens_of(self, name: str) -> float:
        """Tokens that a sample of the member takes; like the others' where it has drawn none."""
        known = self.tokens.get(name)
        if known is None:
            known = sum(self.tokens.values()) / len(self.tokens) if self.tokens else _TOKENS
        return max(known, 1.0)
