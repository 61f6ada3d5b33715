"""A fixed schedule of the samples: the schedule with the highest coverage on earlier problems."""

from __future__ import annotations

from alpharay.router.learn.belief import Belief
from alpharay.router.policies.base import PolicyState, Uniform
from alpharay.router.schedule import next_turns


class Portfolio:
    """Follows the router state's schedule, else its split (a file without a schedule), else the split learnt from
    the log, else the uniform one.

    It looks at nothing that the request itself shows. A wave takes the schedule's next samples; of a split every
    wave is the same split again as nearly as whole samples allow, and members without a part get nothing.
    """

    growth = 1.0

    def allocate(self, samples: int, state: PolicyState) -> list[str]:
        schedule = state.router_state.portfolio.schedule
        if schedule:
            drawable = [member.name for member in state.members]
            turns = next_turns(schedule, drawable, state.drawn, samples)
            return turns or Uniform().allocate(samples, state)
        weights = self.weights(state)
        if sum(weights.values()) <= 0:  # none of its members is available
            return Uniform().allocate(samples, state)
        drawn = {name: state.drawn.get(name, 0) for name in weights}
        scale = 1 / sum(weights.values())
        allocation: list[str] = []
        for _ in range(samples):
            total = sum(drawn.values()) + 1
            # The largest deficit first: a split in whole samples is exact once all of it is drawn.
            name = max(weights, key=lambda name: weights[name] * scale * total - drawn[name])
            drawn[name] += 1
            allocation.append(name)
        return allocation

    @staticmethod
    def weights(state: PolicyState) -> dict[str, float]:
        """Per available member, its share of the budget; learnt shares are in samples of this request's budget."""
        names = [member.name for member in state.in_turn]
        recommended = state.router_state.portfolio.weights
        if any(recommended.get(member.name) for member in state.everyone):
            return {name: recommended.get(name, 0.0) for name in names}
        mixture = state.router_state.mixture
        if mixture is None:
            return dict.fromkeys(names, 1.0)
        belief = Belief(mixture, state.everyone, ())
        every = [member.name for member in state.everyone]
        split = dict.fromkeys(every, 0.0)
        for _ in range(min(state.budget, _MOST_PLANNED)):
            name = every[int(belief.gain().argmax())]
            belief.choose(name)
            split[name] += 1
        return {name: split[name] for name in names}


# Beyond this many samples the split hardly changes, but planning it would take long.
_MOST_PLANNED = 64
