"""The whole budget for a single member: the best so far."""

from __future__ import annotations

from alpharay.router.learn.placing import to_high
from alpharay.router.policies.base import PolicyState


class Single:
    growth = 1.0

    def allocate(self, samples: int, state: PolicyState) -> list[str]:
        """All samples to one member.

        A member already drawn from in this request is kept while it is available; else the member with the best solve
        rate so far is chosen, and among ties the nearest to `high`, the endpoint that was trained on more of the
        tests. A request names a member by `members: [name]`.
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
