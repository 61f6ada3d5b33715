"""Logistic regression per member, by Newton's method."""

from __future__ import annotations

import numpy as np

from alpharay.router.learn.heads.base import Floats, sigmoid, with_one


class Logistic:
    """ridge: the penalty's weight on every coefficient but the constant."""

    def __init__(self, ridge: float = 5.0, steps: int = 12) -> None:
        self._ridge, self._steps = ridge, steps

    def fit(self, x: Floats, solved: Floats, tried: Floats) -> None:
        inputs = with_one(x)
        penalty = np.full(inputs.shape[1], self._ridge)
        penalty[0] = 1e-3
        self._weights: Floats = np.zeros((inputs.shape[1], solved.shape[1]))
        for member in range(solved.shape[1]):
            weights = self._weights[:, member]
            for _ in range(self._steps):
                chance = sigmoid(inputs @ weights)
                slope = inputs.T @ (solved[:, member] - tried[:, member] * chance) - penalty * weights
                curve = (inputs * (tried[:, member] * chance * (1 - chance))[:, None]).T @ inputs
                weights += np.clip(np.linalg.solve(curve + np.diag(penalty), slope), -3, 3)

    def chances(self, x: Floats) -> Floats:
        return sigmoid(with_one(x) @ self._weights)
