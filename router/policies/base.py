"""What a policy is asked, and what it may know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from alpharay.router.draw import Member


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the members before the request begins.

    solved: per member name, how many judged samples of earlier requests were accepted.
    judged: per member name, how many were judged. Both may lack a member.
    """

    solved: Mapping[str, int] = field(default_factory=dict)
    judged: Mapping[str, int] = field(default_factory=dict)

    def solve_rate(self, name: str) -> float:
        """Posterior mean under a uniform prior, so that one lucky sample does not settle it."""
        return (self.solved.get(name, 0) + 1) / (self.judged.get(name, 0) + 2)


class Policy(Protocol):
    """Splits samples over members; pure, so that a replay takes the same decisions."""

    def allocate(
        self,
        samples: int,
        members: Sequence[Member],
        drawn: Mapping[str, int],
        *,
        rotation: int,
        standing: Standing,
    ) -> list[str]:
        """The member of each of the next draws, in order; at most `samples` of them.

        members: those that can be drawn from now, in the frontier's order, never empty.
        drawn: how often each has been drawn in this request.
        rotation: 0, 1, 2, … differs from request to request, for fairness over requests.
        """
        ...
