"""What is known of the members before a request begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from alpharay.router.turns import TurnRates


@dataclass(frozen=True, slots=True)
class Standing:
    """What a request's policy is told; it never changes once it is handed out.

    solved: per member name, how many judged samples of earlier requests were accepted.
    judged: per member name, how many were judged. Both may lack a member.
    folded: experiences that it was learnt from: the place in the store's log that reproduces it.
    turns: how often mending a failed attempt paid, and drawing again.
    """

    solved: Mapping[str, int] = field(default_factory=dict)
    judged: Mapping[str, int] = field(default_factory=dict)
    folded: int = 0
    turns: TurnRates = field(default_factory=TurnRates)

    def solve_rate(self, name: str) -> float:
        """Posterior mean under a uniform prior, so that one lucky sample does not settle it."""
        return (self.solved.get(name, 0) + 1) / (self.judged.get(name, 0) + 2)
