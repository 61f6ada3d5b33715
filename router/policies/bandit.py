"""Contextual bandits over the members: which member pays for a prompt like this, learnt while serving."""

from __future__ import annotations

import math
from random import Random

from alpharay.router.draw import mix
from alpharay.router.learn.arms import Arm, context
from alpharay.router.learn.logged_outcome import OutcomeClass
from alpharay.router.policies.base import PolicyState

# Assumed standard deviation of a single outcome, and UCB's number of standard deviations above the mean.
_NOISE = 0.35
_OPTIMISM = 0.5


class Bandit:
    """Thompson sampling, or LinUCB, on the prompt's features; reward = solved - price * tokens.

    Outcomes within the request count immediately; draws under way reduce the uncertainty. So a batch is spread while
    nothing is known, and goes to a single member once it is known to be the best. Reward and model follow MetaLLM
    (arXiv:2407.10834), with online updates.
    """

    growth = 1.0

    def __init__(self, explore: str = "thompson") -> None:
        self._thompson = explore == "thompson"

    def allocate(self, samples: int, state: PolicyState) -> list[str]:
        x, router_state = context(state.features), state.router_state
        dice = Random(mix(state.seed) ^ sum(state.drawn.values()))
        solved = dict.fromkeys((member.name for member in state.members), 0)
        judged = dict.fromkeys(solved, 0)
        for candidate in state.candidates:
            outcome_class = OutcomeClass.of(candidate.verdict.verdict) if candidate.verdict else None
            if outcome_class is not None and candidate.draw.member in solved:
                solved[candidate.draw.member] += outcome_class is OutcomeClass.SOLVED
                judged[candidate.draw.member] += 1
        blank = Arm.new(router_state.folded)
        arms = {}
        for member in state.in_turn:
            arm = router_state.arms.get(member.name, blank)
            mean, tokens, variance = arm.expected(x, router_state.folded)
            known = judged[member.name]
            mean = (mean + variance * solved[member.name]) / (1 + known * variance)
            cost = state.price * (tokens or router_state.tokens_of(member.name))
            arms[member.name] = (mean - cost, variance, max(known, state.drawn.get(member.name, 0)))
        pulls = {name: pulled for name, (_, _, pulled) in arms.items()}
        allocation: list[str] = []
        for _ in range(samples):
            scores = {}
            for name, (mean, variance, _) in arms.items():
                deviation = _NOISE * math.sqrt(variance / (1 + pulls[name] * variance))
                chance = dice.gauss(0, 1) if self._thompson else _OPTIMISM
                scores[name] = mean + chance * deviation
            best = max(scores, key=scores.__getitem__)  # the first in turn among equals
            if state.price and scores[best] <= 0:
                break
            pulls[best] += 1
            allocation.append(best)
        return allocation
