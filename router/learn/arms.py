"""Linear reward models, one per member, updated with every judged draw in O(d^2).

Ridge regression of (solved, tokens) on the prompt's features, kept as the inverse Gram matrix and the
coefficients, by the Sherman-Morrison formula. Old rows count less: an arm's certainty decays with every folded row,
its own or not, so that an unused arm becomes worth trying again
(discounted LinUCB: Russac, Vernade and Cappé 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alpharay.router.learn.features import DIMENSION

Floats = NDArray[np.float64]

RIDGE = 10.0
# A row's weight after 1 / (1 - DISCOUNT) further rows is 1/e.
DISCOUNT = 0.9995
_PER_TOKEN = 1e-3  # tokens are regressed in thousands, to be of the size of the other target


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """spread: [d, d], the inverse of sum x x^T + RIDGE * I. targets: [2, d], coefficients of solved and of
    thousands of tokens. row: the place in the log that it was last updated at. Never changed in place.
    """

    spread: Floats
    targets: Floats
    row: int

    @classmethod
    def new(cls, row: int) -> Arm:
        size = DIMENSION + 1
        return cls(np.eye(size) / RIDGE, np.zeros((2, size)), row)

    def learnt(self, x: Floats, solved: float, tokens: float, row: int) -> Arm:
        """After one more row."""
        spread = self.spread * self._faded(row)
        along = spread @ x
        gain = along / (1 + x @ along)
        missed = np.array([solved, tokens * _PER_TOKEN]) - self.targets @ x
        return Arm(spread - np.outer(gain, along), self.targets + np.outer(missed, gain), row)

    def corrected(self, x: Floats, solved_more: float) -> Arm:
        """After the correction of an earlier outcome: exact except for the decay since."""
        targets = self.targets + np.outer([solved_more, 0.0], self.spread @ x)
        return replace(self, targets=targets)

    def expected(self, x: Floats, row: int) -> tuple[float, float, float]:
        """(solved, tokens, variance in units of the noise's) of a draw for features x at that row."""
        solved, tokens = self.targets @ x
        variance = min(float(x @ self.spread @ x) * self._faded(row), float(x @ x) / RIDGE)
        return float(solved), max(float(tokens) / _PER_TOKEN, 0.0), variance

    def _faded(self, row: int) -> float:
        """The factor by which the spread has grown since the last update; never beyond its initial value."""
        grown = math.exp(min((self.row - row) * math.log(DISCOUNT), 50.0))
        return max(1.0, min(grown, 1 / RIDGE / float(self.spread.diagonal().max())))


def context(features: Sequence[float]) -> Floats:
    """x: a constant 1, then the features; zeros where none, or others than this version's, were taken."""
    x = np.zeros(DIMENSION + 1)
    x[0] = 1.0
    if len(features) == DIMENSION:
        x[1:] = features
    return x
