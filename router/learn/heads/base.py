"""The interface of a head, and what all heads share."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Head(Protocol):
    def fit(self, x: Floats, solved: Floats, tried: Floats) -> None:
        """Fits from scratch. x: [problems, d]. solved, tried: [problems, members], 0 <= solved <= tried."""
        ...

    def chances(self, x: Floats) -> Floats:
        """[problems, members], in (0, 1)."""
        ...


def sigmoid(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -30, 30))))


def with_one(x: Floats) -> Floats:
    """[problems, d + 1]: a constant 1 first."""
    return np.concatenate([np.ones((len(x), 1)), x], axis=1)


class Adam:
    """Steps of Adam (Kingma and Ba 2015) on a list of arrays, in place."""

    def __init__(self, values: list[Floats], rate: float) -> None:
        self._values, self._rate, self._step = values, rate, 0
        self._mean = [np.zeros_like(value) for value in values]
        self._square = [np.zeros_like(value) for value in values]

    def step(self, gradients: list[Floats]) -> None:
        self._step += 1
        first, second = 1 - 0.9**self._step, 1 - 0.999**self._step
        for index, gradient in enumerate(gradients):
            self._mean[index] += 0.1 * (gradient - self._mean[index])
            self._square[index] += 0.001 * (gradient**2 - self._square[index])
            scale = np.sqrt(self._square[index] / second) + 1e-8
            self._values[index] -= self._rate * (self._mean[index] / first) / scale
