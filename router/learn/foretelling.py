"""Whether the model predicts requests better than a schedule does: evaluated on each request before it is learnt.

A schedule assumes that a problem is like those seen before and that all earlier samples failed; it does not see how
they failed. The model is worth using within a request if it predicts the next sample better than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpharay.router.learn.logged_outcome import OutcomeClass
from alpharay.router.learn.mixture import Mixture, log_evidence
from alpharay.router.schedule import shrunk_chances

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Samples of one request that are asked about; what comes after them is nearly always another failure.
MOST_ASKED = 32
# Requests that the comparison is of, and from how many on it is believed.
_OVER, _FROM = 256, 24
# Requests that must have been met: of fewer no schedule would be made.
LEAST_MET = 24
# Standard errors by which the model must be ahead.
_BEYOND_CHANCE = 2.0
_LEAST = 1e-6  # of a predicted probability

# One sample: the member's number and what came of it.
Attempt = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Foretelling:
    """requests: so many, at most `_OVER`. mean, variance: of the log chance by which the model was ahead in each."""

    requests: int = 0
    mean: float = 0.0
    variance: float = 0.0

    @property
    def ahead(self) -> bool:
        """Whether the model is better than a schedule beyond chance."""
        error = (self.variance / max(self.requests, 1)) ** 0.5
        return self.requests >= _FROM and self.mean > _BEYOND_CHANCE * error

    def with_request(self, gain: float) -> Foretelling:
        """gain: `gain_over_schedule` of one more request."""
        requests = min(self.requests + 1, _OVER)
        away = gain - self.mean
        mean = self.mean + away / requests
        variance = self.variance + (away * (gain - mean) - self.variance) / requests
        return Foretelling(requests, mean, variance)


def gain_over_schedule(attempts: Sequence[Attempt], history: Ints, mixture: Mixture, met: Ints) -> float:
    """The log chance of whether each attempt was solved, by the model, less that by what a schedule is made from.

    attempts: in their order; those after the first that was solved are not asked about. history: [members, OutcomeClass],
    what the request had shown before them. met: [problems, members, OutcomeClass], what other requests came to.
    """
    counts = history.copy()
    chances = shrunk_chances(met.sum(axis=2), met[:, :, OutcomeClass.SOLVED])
    left = np.log(1 - chances) @ counts.sum(axis=1)  # of each problem met: that all before failed
    gain = 0.0
    for member, outcome in attempts[:MOST_ASKED]:
        if counts[:, OutcomeClass.SOLVED].any():
            break
        like = np.exp(left - left.max())
        foretold = _chance(mixture, counts, member), float(like @ chances[:, member] / like.sum())
        mine, theirs = (min(max(chance, _LEAST), 1 - _LEAST) for chance in foretold)
        if outcome == OutcomeClass.SOLVED:
            gain += np.log(mine / theirs)
        else:
            gain += np.log((1 - mine) / (1 - theirs))
        counts[member, outcome] += 1
        left = left + np.log(1 - chances[:, member])
    return float(gain)


def _chance(mixture: Mixture, counts: Ints, member: int) -> float:
    """That the member's next sample is solved, after these counts [members, OutcomeClass]."""
    evidence = np.log(mixture.weights) + log_evidence(mixture.rates, mixture.kappa, counts)
    types = np.exp(evidence - evidence.max())
    solved = (
        mixture.kappa * mixture.rates[:, member, OutcomeClass.SOLVED] + counts[member, OutcomeClass.SOLVED]
    )
    return float(types @ solved / types.sum() / (mixture.kappa + counts[member].sum()))
