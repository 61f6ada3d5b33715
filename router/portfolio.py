"""The fixed split of a budget over members that covers the most problems, from recorded outcomes.

Throughout, `counts` is an integer array [problems, members, 2]: samples drawn (n) and solved (c). A split
is an integer array [members]. Its coverage of one problem is the chance that a split drawn at random from
the recorded samples, without replacement, holds a solution:

    1 - prod_m C(n_m - c_m, k_m) / C(n_m, k_m)

which is unbiased for k_m <= n_m. A member with fewer recorded samples than its share is credited with those it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Stands for log 0: low enough for exp to give 0, high enough for sums to stay finite.
_NEVER = -1e4
# Bounds of the correlation of two samples of one problem.
_LEAST_ALIKE, _MOST_ALIKE = 0.02, 0.95


def coverage(counts: Any, split: Sequence[int] | Ints) -> float:
    """Expected share of problems solved by a split, in [0, 1]; the mean of `problem_coverage`."""
    return float(np.mean(problem_coverage(counts, split)))


def problem_coverage(counts: Any, split: Sequence[int] | Ints) -> Floats:
    """Each problem's chance to be solved by a split, [problems].

    Raises ValueError: the shapes do not fit, a count is negative, or more were solved than drawn.
    """
    table = _Failures(counts)
    wanted = np.asarray(split, dtype=np.int64)
    if wanted.shape != (table.members,) or (wanted < 0).any():
        raise ValueError(f"a split names one number >= 0 for each of {table.members} members, got {split}")
    return -np.expm1(table.log_failure(wanted))


def optimal_split(counts: Any, budget: int, *, shrunk: bool = False) -> Floats:
    """Weights [members] that sum to 1; times `budget` they are integers, the best split that the search reached.

    The concave relaxation (drawing with replacement) is maximised over the simplex, rounded, and then
    improved by the exact formula, moving samples from member to member while that helps. The same is
    done from the uniform split and from every single member, so that in-sample the result is never
    worse than any of those. Ties go to the split with fewer members: a member that adds nothing gets nothing.

    shrunk: the split is for other problems than these. The exact formula is unbiased for any single split, but when
    the split uses as many samples as were recorded it hardly distinguishes a problem solved once from a problem
    solved often, and the best of many splits is then the luckiest. Instead the expected coverage of fresh samples is
    maximised: each problem's solve probability has the posterior of its counts under a Beta distribution over
    problems that is fitted per member.

    Raises ValueError as `problem_coverage` does, or for a budget below 1 or no problems.
    """
    table = _Fresh(counts) if shrunk else _Failures(counts)
    if budget < 1 or not table.problems:
        raise ValueError(f"a split needs a budget of at least 1 and some problems, got {budget}, none")
    members, each = table.members, budget // table.members
    uniform = np.full(members, each) + (np.arange(members) < budget - each * members)
    starts = [rounded(relaxed_weights(counts, budget), budget), uniform]
    starts += list(budget * np.eye(members, dtype=np.int64))
    splits = [_improved(table, start) for start in starts]
    best = max(table.covered(split) for split in splits)
    equals = [split for split in splits if table.covered(split) >= best - 1e-12]
    chosen = _without_idle(table, min(equals, key=np.count_nonzero))
    return np.asarray(chosen / budget, dtype=np.float64)


def relaxed_weights(counts: Any, budget: int, steps: int = 300) -> Floats:
    """Maximises mean_p 1 - exp(budget * sum_m w_m log(1 - c/n)) over the simplex: concave in w.

    By exponentiated gradient with a step that adapts; [members].
    """
    table = _Failures(counts)
    share = table.solved / np.maximum(table.drawn, 1)
    slope = budget * np.log1p(-np.minimum(share, 1 - 1e-4))  # [problems, members]
    weights = np.full(table.members, 1 / table.members)
    rate, value = 1.0, -np.mean(np.exp(slope @ weights))
    for _ in range(steps):
        gradient = -(np.exp(slope @ weights) @ slope) / max(table.problems, 1)
        scale = np.abs(gradient).max()
        if scale == 0:
            break
        step = weights * np.exp(rate * (gradient - gradient.max()) / scale)
        step /= step.sum()
        after = -np.mean(np.exp(slope @ step))
        if after > value:
            weights, value, rate = step, after, rate * 1.3
        elif rate < 1e-9:
            break
        else:
            rate /= 2
    return np.asarray(weights)


def rounded(weights: Sequence[float] | Floats, budget: int) -> Ints:
    """Whole numbers that sum to `budget`, each within 1 of weight * budget; largest remainders first."""
    exact = np.asarray(weights, dtype=np.float64)
    exact = exact / exact.sum() * budget
    split = np.floor(exact + 1e-9).astype(np.int64)
    left = budget - int(split.sum())
    # A stable sort: equal remainders are served in member order.
    split[np.argsort(-(exact - split), kind="stable")[:left]] += 1
    return np.asarray(split, dtype=np.int64)


class _Failures:
    """log C(n-c,k)/C(n,k) of every problem and member, for any k."""

    def __init__(self, counts: Any) -> None:
        array = np.asarray(counts)
        if array.ndim != 3 or array.shape[2] != 2 or array.dtype.kind not in "iu":
            raise ValueError(
                f"counts are whole numbers of shape [problems, members, 2], got {array.dtype} {array.shape}"
            )
        self.drawn, self.solved = array[:, :, 0].astype(np.int64), array[:, :, 1].astype(np.int64)
        if (self.solved < 0).any() or (self.solved > self.drawn).any():
            raise ValueError("counts must satisfy 0 <= solved <= drawn")
        self.problems, self.members = self.drawn.shape
        most = int(self.drawn.max(initial=0))
        self._known: dict[
            tuple[int, int], Floats
        ] = {}  # cache: a search evaluates the same entries many times
        self._log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])

    def of(self, member: int, samples: int) -> Floats:
        """[problems]; read-only."""
        known = self._known.get((member, samples))
        if known is None:
            known = self._known[member, samples] = self._computed(member, samples)
        return known

    def _computed(self, member: int, samples: int) -> Floats:
        n, c, log = self.drawn[:, member], self.solved[:, member], self._log_factorial
        k = np.minimum(samples, n)
        possible = n - c >= k
        left = np.where(possible, n - c - k, 0)
        value = log[n - c] + log[n - k] - log[left] - log[n]
        # The terms are large and nearly equal: an exact 0 must not become 1e-14.
        value = np.where((k == 0) | (c == 0), 0.0, value)
        return np.where(possible, np.minimum(value, 0.0), _NEVER)

    def log_failure(self, split: Ints) -> Floats:
        """[problems]"""
        return np.asarray(sum(self.of(member, int(k)) for member, k in enumerate(split)), dtype=np.float64)

    def covered(self, split: Ints) -> float:
        return float(np.mean(-np.expm1(self.log_failure(split))))


class _Fresh(_Failures):
    """The logarithm of the chance that k fresh samples of a problem fail: beta-binomial, B(a', b' + k) / B(a', b')."""

    def __init__(self, counts: Any) -> None:
        super().__init__(counts)
        self._priors = [beta_over_problems(self.drawn[:, m], self.solved[:, m]) for m in range(self.members)]

    def _computed(self, member: int, samples: int) -> Floats:
        (a, b), n, c = self._priors[member], self.drawn[:, member], self.solved[:, member]
        most = int(n.max(initial=0)) + samples
        missed = np.concatenate([[0.0], np.cumsum(np.log(b + np.arange(most)))])
        tried = np.concatenate([[0.0], np.cumsum(np.log(a + b + np.arange(most)))])
        return np.asarray(missed[n - c + samples] - missed[n - c] - tried[n + samples] + tried[n])


def beta_over_problems(drawn: Ints, solved: Ints) -> tuple[float, float]:
    """(a, b) of a Beta distribution of one member's chance over problems, by its first two moments.

    The variance of the observed shares is that of the probabilities plus the sampling variance; the bounds keep few
    problems from implying that all are alike, or that each is solved always or never.
    """
    samples = max(float(drawn.mean()), 1.0)
    mean = (solved.sum() + 0.5) / (drawn.sum() + 1)
    spread = float(np.var(solved / np.maximum(drawn, 1))) / (mean * (1 - mean))
    alike = (samples * spread - 1) / (samples - 1) if samples > 1 else _LEAST_ALIKE
    weight = 1 / min(max(alike, _LEAST_ALIKE), _MOST_ALIKE) - 1
    return mean * weight, (1 - mean) * weight


def _improved(table: _Failures, start: Ints) -> Ints:
    """Moves samples between members, in decreasing steps, while coverage increases."""
    split, stride = start.copy(), max(1, int(start.sum()) // 2)
    now = table.covered(split)
    while stride:
        here = np.array([table.of(m, int(k)) for m, k in enumerate(split)])
        more = np.array([table.of(m, int(k) + stride) for m, k in enumerate(split)]) - here
        less = np.array([table.of(m, max(0, int(k) - stride)) for m, k in enumerate(split)]) - here
        after = np.array([-np.expm1(here.sum(0) + more + gone).mean(axis=1) for gone in less])
        after[split < stride] = -1  # [giver, taker]
        np.fill_diagonal(after, -1)
        giver, taker = np.unravel_index(int(after.argmax()), after.shape)
        if after[giver, taker] > now + 1e-12:
            split[giver] -= stride
            split[taker] += stride
            now = float(after[giver, taker])
        else:
            stride //= 2
    return split


def _without_idle(table: _Failures, split: Ints) -> Ints:
    """Reassigns samples of members that add nothing to the member with the largest share."""
    now = table.covered(split)
    for member in np.argsort(split, kind="stable"):
        if 0 < split[member] < split.sum():
            others = split.copy()
            others[member] = 0
            others[int(others.argmax())] += split[member]
            if table.covered(others) >= now - 1e-12:
                split, now = others, table.covered(others)
    return split
