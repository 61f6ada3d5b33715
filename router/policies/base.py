"""What a policy is asked, and what it may know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from alpharay.router.draw import Member
from alpharay.router.standing import Standing


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
