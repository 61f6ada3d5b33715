"""The paper's matched split: every member gets the same share of the budget."""

from __future__ import annotations

from collections import Counter

from alpharay.router.policies.base import PolicyState


class Uniform:
    growth = 1.0

    def allocate(self, samples: int, state: PolicyState) -> list[str]:
        """Each sample goes to the member drawn least so far.

        The split is exact whenever the budget is a multiple of the members; the remainder starts at
        another member from request to request, so that no member is favoured over many of them.
        """
        order = [member.name for member in state.in_turn]
        counts = Counter({name: state.drawn.get(name, 0) for name in order})
        allocation = []
        for _ in range(samples):
            name = min(order, key=counts.__getitem__)  # min returns the first of ties
            counts[name] += 1
            allocation.append(name)
        return allocation
