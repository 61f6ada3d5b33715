"""Each sample where it is likeliest to solve what is still unsolved, given how everything before it failed."""

from __future__ import annotations

import numpy as np

from alpharay.router.learn.belief import Belief
from alpharay.router.learn.mixture import unlearnt
from alpharay.router.policies.base import PolicyState
from alpharay.router.policies.portfolio import Portfolio

# Gains closer than this are equal, and go by turns.
_EQUAL = 1e-9


class Adaptive:
    """Waves of samples by expected marginal coverage under the learnt mixture of problem types.

    A wrong answer makes types likely whose solutions lie at lower alpha, a time limit those that lie
    higher: because the log says so, and before there is a log because the grid does. With a price, the
    sample with the most coverage per token comes next, and nothing once none is worth its tokens.

    Where there is a schedule it is followed, as `portfolio` does, until the model has foretold requests that it had not
    learnt better than a schedule would; with a price, which a schedule knows nothing of, the model decides.
    """

    growth = 0.5

    def allocate(self, samples: int, state: PolicyState) -> list[str]:
        known = state.router_state
        if known.portfolio.schedule and not known.foretells and not state.price:
            return Portfolio().allocate(samples, state)
        everyone = state.everyone
        mixture = state.router_state.mixture or unlearnt(tuple(everyone))
        belief = Belief(mixture, everyone, state.candidates)
        belief.take_under_way(state.drawn, state.candidates)
        places = {member.name: place for place, member in enumerate(everyone)}
        order = np.array([places[member.name] for member in state.in_turn])
        tokens = np.array([state.router_state.tokens_of(member.name) for member in everyone])
        allocation: list[str] = []
        for _ in range(samples):
            gain = belief.gain()
            worth = gain
            if state.price:
                worth = np.where(gain > state.price * tokens, gain / tokens, 0.0)
            worth = worth[order]
            best = float(worth.max())
            if state.price and best <= 0:
                break
            place = order[int(np.argmax(worth >= best - _EQUAL * max(best, _EQUAL)))]
            name = everyone[place].name
            belief.choose(name)
            allocation.append(name)
        return allocation
