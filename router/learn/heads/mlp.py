"""A perceptron with two hidden layers shared by all members, trained by Adam on the whole log at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from alpharay.router.learn.heads.base import Adam, Floats, sigmoid, with_one


class Mlp:
    """hidden: units of each layer. decay: L2 penalty. seed: of the first weights."""

    def __init__(self, hidden: int = 16, steps: int = 300, decay: float = 0.02, seed: int = 0) -> None:
        self._hidden, self._steps, self._decay, self._seed = hidden, steps, decay, seed

    def fit(self, x: Floats, solved: Floats, tried: Floats) -> None:
        rng = np.random.default_rng(self._seed)
        inputs, total = with_one(x), max(float(tried.sum()), 1.0)
        sizes = [inputs.shape[1], self._hidden, self._hidden, solved.shape[1]]
        self.weights: list[Floats] = [
            rng.normal(0, np.sqrt(2 / rows), (rows, columns)) for rows, columns in pairwise(sizes)
        ]
        share = (solved.sum(axis=0) + 0.5) / (tried.sum(axis=0) + 1)
        self.bias: Floats = np.log(share / (1 - share))
        adam = Adam([*self.weights, self.bias], 0.01)
        for _ in range(self._steps):
            first, second, z = self.layers(x)
            out = (tried * sigmoid(z) - solved) / total
            back_second = (out @ self.weights[2].T) * (second > 0)
            back_first = (back_second @ self.weights[1].T) * (first > 0)
            gradients = [inputs.T @ back_first, first.T @ back_second, second.T @ out]
            gradients = [
                gradient + self._decay * weights / 10
                for gradient, weights in zip(gradients, self.weights, strict=True)
            ]
            adam.step([*gradients, out.sum(axis=0)])

    def layers(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """(first hidden states, second hidden states, logits), each [problems, …]."""
        first = np.maximum(with_one(x) @ self.weights[0], 0)
        second = np.maximum(first @ self.weights[1], 0)
        return first, second, second @ self.weights[2] + self.bias

    def chances(self, x: Floats) -> Floats:
        return sigmoid(self.layers(x)[2])
