"""The whole budget to one member: the best so far."""

from __future__ import annotations

from alpharay.router.learn.placing import to_high
from alpharay.router.policies.base import PolicyState


class Single:
    growth = 1.0

    def allocate(self, samples: int, state: PolicyState) -> list[str]:
        """All samples to one member.

        A member already drawn from in this request is kept as long as it can be drawn from; else it
        is the one with the best solve rate so far, the nearest to `high` among equals: the endpoint
        that was trained on more of the tests. A request names a member by `members: [name]`.
        """
        best = max(
            state.members,
            key=lambda member: (
                state.drawn.get(member.name, 0),
                state.router_state.solve_rate(member.name),
                -to_high(member),
            ),
        )
        return [best.name] * samples
