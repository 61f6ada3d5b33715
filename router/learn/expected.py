"""The expected result of a batch under uniform sampling, by the model learnt from its actual outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alpharay.router.draw import Member
from alpharay.router.learn.latent import prior, refit
from alpharay.router.learn.logged_outcome import OutcomeClass
from alpharay.router.learn.mixture import log_evidence

_STEPS = 8
_DOUBT = 0.05
_NONE_LEFT = 1e-6  # problems that are expected to be unsolved still


def expected_uniform(
    members: Sequence[Member], counts: NDArray[np.int64], totals: Sequence[int], most: int | None = None
) -> list[float]:
    """Problems solved by each of these numbers of samples, if every unsolved problem had one in turn, of each member
    equally often.

    counts: [problems, members, OutcomeClass], what was drawn; it may have stopped at a pass. totals: rising. most:
    samples of one problem. Each problem's chances are those that the model gives it after what was drawn of it.
    """
    drawn = counts[counts.sum(axis=(1, 2)) > 0]
    mixture = refit(prior(tuple(members)), drawn, _STEPS).mixture(_DOUBT)
    rates, first = mixture.rates_of(members), np.log(mixture.weights)
    alive = np.stack([_chances(first + log_evidence(rates, mixture.kappa, each)) for each in counts])
    fails = 1 - rates[:, :, OutcomeClass.SOLVED]
    turns = np.arange(len(counts)) % len(members)  # whose turn comes first goes round too
    spent, turn, solved = 0.0, 0, []
    for total in totals:
        while spent < total and (most is None or turn < most):
            step = float(alive.sum())
            if step < _NONE_LEFT:
                break
            if spent + step > total:
                break
            alive *= fails[:, (turns + turn) % len(members)].T  # [problems, types]
            spent, turn = spent + step, turn + 1
        # Of the round that the total ends in, a part.
        left = float(alive.sum())
        share = (
            min(1.0, (total - spent) / left) if left > _NONE_LEFT and (most is None or turn < most) else 0.0
        )
        after = left - share * float((alive * (1 - fails[:, (turns + turn) % len(members)].T)).sum())
        solved.append(len(counts) - after)
    return solved


def _chances(log_chance: NDArray[np.float64]) -> NDArray[np.float64]:
    chance = np.exp(log_chance - log_chance.max())
    return np.asarray(chance / chance.sum())
