"""The interface of a policy, the state it decides from, and the policy that others fall back to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from alpharay.router.draw import Candidate, Member
from alpharay.router.learn.router_state import RouterState


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyState:
    """One request as its policy sees it when more is to be drawn.

    members: those that can be drawn from now, in the frontier's order, never empty.
    everyone: all members of the request, those included; left out, the same.
    drawn: per member name, the samples started and not lost.
    candidates: what came of those that count so far. budget: samples of the whole request.
    router_state: what was known before the request began. features: of its prompt; may be empty. rotation: 0, 1, 2, …
    differs between requests, for fairness over requests. seed: the request's own, for randomised policies. price: the
    cost of one token, in solved requests; 0: spend the budget freely.
    """

    members: Sequence[Member]
    everyone: Sequence[Member] = ()
    drawn: Mapping[str, int] = field(default_factory=dict)
    candidates: Sequence[Candidate] = ()
    budget: int = 1
    router_state: RouterState = field(default_factory=RouterState)
    features: tuple[float, ...] = ()
    rotation: int = 0
    seed: int = 0
    price: float = 0.0

    def __post_init__(self) -> None:
        if not self.everyone:
            object.__setattr__(self, "everyone", self.members)

    @property
    def in_turn(self) -> Sequence[Member]:
        """The members, rotated by the request's `rotation`: breaking ties in this order is fair over requests."""
        start = self.rotation % len(self.members)
        return (*self.members[start:], *self.members[:start])


class Policy(Protocol):
    """Splits samples over members; pure, so that a replay takes the same decisions.

    growth: size of a wave beside what was spent before it. 1 doubles what was spent with every wave.
    """

    growth: float

    def allocate(self, samples: int, state: PolicyState) -> list[str]:
        """The member of each of the next draws, in order.

        At most `samples` of them; fewer if, at a price, no more are worth their cost.
        """
        ...


class Uniform:
    """The paper's matched split: every member gets the same share of the budget."""

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
