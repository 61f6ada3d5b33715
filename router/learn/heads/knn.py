"""The share solved among the most similar prompts, shrunk to the overall share."""

from __future__ import annotations

import numpy as np

from alpharay.router.learn.heads.base import Floats


class NearestNeighbours:
    """neighbours: how many count. shrink: samples that the overall share weighs."""

    def __init__(self, neighbours: int = 20, shrink: float = 4.0) -> None:
        self._neighbours, self._shrink = neighbours, shrink

    def fit(self, x: Floats, solved: Floats, tried: Floats) -> None:
        self._x, self._solved, self._tried = x, solved, tried
        self._share: Floats = (solved.sum(axis=0) + 0.5) / (tried.sum(axis=0) + 1)

    def chances(self, x: Floats) -> Floats:
        away = (x**2).sum(1)[:, None] + (self._x**2).sum(1)[None, :] - 2 * x @ self._x.T
        nearest = np.argsort(away, axis=1, kind="stable")[:, : self._neighbours]
        solved, tried = self._solved[nearest].sum(axis=1), self._tried[nearest].sum(axis=1)
        return np.asarray((solved + self._shrink * self._share) / (tried + self._shrink))
