"""Allocates each sample to the member most likely to solve the problem, given how all earlier samples failed."""

from __future__ import annotations

import numpy as np

from alpharay.router.learn.belief import Belief
from alpharay.router.learn.mixture import unlearnt
from alpharay.router.policies.base import PolicyState
from alpharay.router.policies.portfolio import Portfolio

# Gains closer than this are ties, which go in rotation.
_EQUAL = 1e-9


class Adaptive:
    """Waves of samples by expected marginal coverage under the learnt mixture of problem types.

    A wrong answer raises the probability of types whose solutions lie at lower alpha, a time limit that of types
    whose solutions lie higher: learnt from the log, and before there is a log assumed by the grid. With a price, the
    sample with the most coverage per token comes next, and sampling stops when none is worth its tokens.

    A schedule, if there is one, is followed as `portfolio` does, until the model has predicted requests that it had
    not learnt from better than a schedule would. With a price, which a schedule ignores, the model always decides.
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
        column_of = {member.name: column for column, member in enumerate(everyone)}
        order = np.array([column_of[member.name] for member in state.in_turn])
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
            column = order[int(np.argmax(worth >= best - _EQUAL * max(best, _EQUAL)))]
            name = everyone[column].name
            belief.choose(name)
            allocation.append(name)
        return allocation
