"""An implicit model: x = relu(A x + B u), y = C x + D u, with ||A||_inf <= kappa < 1.

The bound on A makes the equation's solution unique and the plain iteration converge (El Ghaoui et al. 2021), and
gives a certificate: |dy| <= (||C|| ||B|| / (1 - kappa) + ||D||) |du| in the infinity norm.

Trained in one of two ways. Directly: implicit gradients, and a projection of A after every step. Or
state-driven (SIM): a perceptron is trained first, and A, B, C, D are found so that the fixed points are its
hidden states, scaled to fit under the bound: a convex problem, one row of (A, B) at a time.
"""

from __future__ import annotations

import numpy as np

from alpharay.router.learn.heads.base import Adam, Floats, sigmoid, with_one
from alpharay.router.learn.heads.mlp import Mlp


class Implicit:
    """kappa: the bound, in (0, 1). state_driven: train by matching a perceptron's states."""

    def __init__(
        self,
        states: int = 16,
        kappa: float = 0.9,
        *,
        state_driven: bool = True,
        steps: int = 200,
        seed: int = 0,
    ) -> None:
        if not 0 < kappa < 1:
            raise ValueError(f"kappa must be in (0, 1), got {kappa}")
        self._states, self._kappa, self._steps, self._seed = states, kappa, steps, seed
        self._state_driven = state_driven

    def fit(self, x: Floats, solved: Floats, tried: Floats) -> None:
        if self._state_driven:
            self._match(x, solved, tried)
        else:
            self._descend(x, solved, tried)

    def chances(self, x: Floats) -> Floats:
        inputs = with_one(x)
        return sigmoid(self.settled(inputs) @ self.c.T + inputs @ self.d.T)

    def settled(self, inputs: Floats, tolerance: float = 1e-8) -> Floats:
        """The fixed points [problems, states] of inputs [problems, d + 1], by Picard iteration."""
        drive = inputs @ self.b.T
        x = np.zeros_like(drive)
        # The distance to the fixed point shrinks by kappa a step, so this is enough for any start.
        for _ in range(int(np.log(tolerance / (1 + np.abs(drive).max())) / np.log(self._kappa)) + 2):
            after = np.maximum(x @ self.a.T + drive, 0)
            done = np.abs(after - x).max(initial=0) < tolerance * (1 - self._kappa)
            x = after
            if done:
                break
        return np.asarray(x)

    def certificate(self) -> float:
        """How much a logit can change per unit of change of any one feature, at most."""
        b, d = self.b[:, 1:], self.d[:, 1:]  # the constant input never changes
        return float(_norm(self.c) * _norm(b) / (1 - _norm(self.a)) + _norm(d))

    def close(self, x: Floats, radius: float) -> Floats:
        """[problems, members]: which members cannot be told from the best one, features being known to +- radius.

        The bound is of each logit, so two of them may approach each other by twice as much.
        """
        chance = self.chances(x)
        logit = np.log(chance / (1 - chance))
        gap = logit.max(axis=1, keepdims=True) - logit
        return np.asarray(gap <= 2 * radius * self.certificate())

    def _match(self, x: Floats, solved: Floats, tried: Floats) -> None:
        teacher = Mlp(hidden=self._states // 2, seed=self._seed)
        teacher.fit(x, solved, tried)
        first, second, logits = teacher.layers(x)
        # Scaling a layer's states leaves what it computes, and brings its rows of A under the bound.
        rows = np.abs(teacher.weights[1]).sum(axis=0)
        states = np.concatenate([first, second / np.maximum(rows / (0.9 * self._kappa), 1.0)], axis=1)
        inputs = with_one(x)
        self.a, self.b = matched(states, inputs, self._kappa)
        both = np.concatenate([self.settled(inputs), inputs], axis=1)
        gram = both.T @ both + 1e-3 * len(x) * np.eye(both.shape[1])
        out = np.linalg.solve(gram, both.T @ logits)
        self.c, self.d = out[: states.shape[1]].T, out[states.shape[1] :].T

    def _descend(self, x: Floats, solved: Floats, tried: Floats) -> None:
        rng = np.random.default_rng(self._seed)
        inputs, members, total = with_one(x), solved.shape[1], max(float(tried.sum()), 1.0)
        size = self._states
        self.a = project_rows(rng.normal(0, 0.3, (size, size)), self._kappa)
        self.b = rng.normal(0, np.sqrt(2 / inputs.shape[1]), (size, inputs.shape[1]))
        self.c = rng.normal(0, np.sqrt(1 / size), (members, size))
        self.d = np.zeros((members, inputs.shape[1]))
        adam = Adam([self.a, self.b, self.c, self.d], 0.01)
        for _ in range(self._steps):
            states = self.settled(inputs, 1e-5)
            z = states @ self.c.T + inputs @ self.d.T
            out = (tried * sigmoid(z) - solved) / total
            back = self.adjoint(states, out @ self.c)
            gradients = [back.T @ states, back.T @ inputs, out.T @ states, out.T @ inputs]
            decayed = zip(gradients, (self.a, self.b, self.c, self.d), strict=True)
            adam.step([gradient + 0.002 * weights for gradient, weights in decayed])
            self.a[:] = project_rows(self.a, self._kappa)

    def adjoint(self, states: Floats, slope: Floats) -> Floats:
        """The loss's gradient in the pre-activations [problems, states], by the implicit function theorem.

        g = phi' * (slope + g A), solved by the same contraction. slope: the gradient in the states.
        """
        active = states > 0
        g = np.zeros_like(slope)
        for _ in range(int(np.log(1e-6) / np.log(self._kappa)) + 1):
            g = active * (slope + g @ self.a)
        return np.asarray(g)


def matched(states: Floats, inputs: Floats, kappa: float, steps: int = 400) -> tuple[Floats, Floats]:
    """(A, B) whose map keeps the states, row by row: convex, by accelerated projected gradients.

    Where a state is positive its pre-activation must equal it, where it is 0 it must not be above. Each row of A
    stays in the ball of 1-norm kappa, which is exactly ||A||_inf <= kappa.
    """
    size, number = states.shape[1], len(states)
    both = np.concatenate([states, inputs], axis=1)
    rate = 1 / (np.linalg.norm(both, 2) ** 2 / number + 1e-3)
    rows = np.zeros((size, both.shape[1]))
    ahead, momentum = rows, 1.0
    for _ in range(steps):
        miss = both @ ahead.T - states
        miss = np.where(states > 0, miss, np.maximum(miss, 0))
        after = ahead - rate * (miss.T @ both / number + 1e-4 * ahead)
        after[:, :size] = project_rows(after[:, :size], kappa)
        grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / grown * (after - rows)
        rows, momentum = after, grown
    return rows[:, :size], rows[:, size:]


def project_rows(matrix: Floats, radius: float) -> Floats:
    """The nearest matrix all of whose rows have a 1-norm of at most `radius` (Duchi et al. 2008), exactly."""
    size = np.abs(matrix)
    falling = -np.sort(-size, axis=1)
    excess = np.cumsum(falling, axis=1) - radius
    count = np.arange(1, matrix.shape[1] + 1)
    last = np.maximum((falling - excess / count > 0).sum(axis=1), 1)
    shift = np.maximum(excess[np.arange(len(matrix)), last - 1] / last, 0)
    shift = np.where(size.sum(axis=1) > radius, shift, 0)
    return np.asarray(np.sign(matrix) * np.maximum(size - shift[:, None], 0))


def _norm(matrix: Floats) -> float:
    """The infinity norm: the largest 1-norm of a row."""
    return float(np.abs(matrix).sum(axis=1).max(initial=0))
