"""The whole budget to one member: the best so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alpharay.router.draw import Member
from alpharay.router.standing import Standing


class Single:
    def allocate(
        self,
        samples: int,
        members: Sequence[Member],
        drawn: Mapping[str, int],
        *,
        rotation: int,
        standing: Standing,
    ) -> list[str]:
        """All samples to one member.

        A member already drawn from in this request is kept as long as it can be drawn from; else it
        is the one with the best solve rate so far, the nearest to `high` among equals: the endpoint
        that was trained on more of the tests. A request names a member by `members: [name]`.
        """
        del rotation
        best = max(
            members,
            key=lambda member: (
                drawn.get(member.name, 0),
                standing.solve_rate(member.name),
                -abs(member.alpha - 1),
            ),
        )
        return [best.name] * samples
