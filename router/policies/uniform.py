"""The paper's matched split: every member gets the same share of the budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from alpharay.router.draw import Member
from alpharay.router.standing import Standing


class Uniform:
    def allocate(
        self,
        samples: int,
        members: Sequence[Member],
        drawn: Mapping[str, int],
        *,
        rotation: int,
        standing: Standing,
    ) -> list[str]:
        """Each sample goes to the member drawn least so far.

        The split is exact whenever the budget is a multiple of the members; the remainder starts at
        another member from request to request, so that no member is favoured over many of them.
        """
        del standing
        start = rotation % len(members)
        order = [member.name for member in (*members[start:], *members[:start])]
        counts = Counter({name: drawn.get(name, 0) for name in order})
        allocation = []
        for _ in range(samples):
            name = min(order, key=counts.__getitem__)  # min keeps the order's first among equals
            counts[name] += 1
            allocation.append(name)
        return allocation
