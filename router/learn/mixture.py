"""A mixture of problem types, with each member's rates of outcomes per type.

A problem is of one of G types with chances `weights`. Within a type, member m solves, is incorrect or is
inefficient with mean `rates[g, m]`; each problem has its own probabilities about that mean, drawn from a
Beta whose concentration kappa says how alike the problems of a type are. So

    P(counts n of one problem | g) = prod_m BetaBinomial(solved, failed; kappa * solving rate)
                                            * BetaBinomial(inefficient, incorrect; KINDS * share of the failures)

Types make members correlate: who fails like this at alpha 0.5 will fail like that at 1.0. The first Beta is
what remains: failing again and again speaks against a member itself. The second keeps how samples failed from
drowning whether they did: with fifty failures of a problem, fifty independent tellings of their kind would say
with certainty at which alpha it is solved, and be wrong wherever the kinds are not quite what the model takes
them for. Types are points of the learnt
Gaussian (`latent.py`); before anything is learnt they are the grid of `unlearnt`: how difficult, and where best
solved: at which alpha, or off the line near which member. Below that alpha attempts tend to run out of time, above it to
be wrong, and no member is better than another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alpharay.router.draw import Member
from alpharay.router.learn.logged_outcome import OutcomeClass
from alpharay.router.learn.placing import along, distances, placed, spread_out

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DIFFICULTIES = (0.6, 0.3, 0.12, 0.03, 0.005)
_POSITIONS = 4
_LEAST = 1e-4  # of any rate, so that nothing is ever quite impossible
_KAPPA = 20.0
# How alike the kinds of failures are among problems of a type; low: the hundredth failure says less than the first.
KINDS = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """weights: [G], sum 1. rates: [G, members, OutcomeClass], each row sums to 1. kappa: > 0. Never changed in place."""

    members: tuple[Member, ...]
    weights: Floats
    rates: Floats
    kappa: float

    def rates_of(self, members: Sequence[Member]) -> Floats:
        """[G, len(members), OutcomeClass]; a member never seen is taken to be like its neighbours."""
        columns_of = {member.name: column for column, member in enumerate(self.members)}
        if all(member.name in columns_of for member in members):
            return self.rates[:, [columns_of[member.name] for member in members]]
        near = _kernel(members, self.members)
        columns = [
            self.rates[:, columns_of[member.name]]
            if member.name in columns_of
            else np.einsum("m,gmc->gc", near[row], self.rates)
            for row, member in enumerate(members)
        ]
        return np.stack(columns, axis=1)


@lru_cache(maxsize=64)
def unlearnt(members: tuple[Member, ...]) -> Mixture:
    """The grid for these members, in which all are equally good."""
    away, distance = _from_centres(members)
    shape = np.exp(-((distance / 0.5) ** 2))  # [position, member]
    shape /= shape.mean(axis=0)
    solve = 1 - (1 - np.array(_DIFFICULTIES)[:, None, None]) ** shape[None]  # [difficulty, position, member]
    solve *= np.array(_DIFFICULTIES)[:, None, None] / solve.mean(axis=1, keepdims=True)
    solve = np.clip(solve, _LEAST, 0.98)
    inefficient = np.clip(1 / (1 + np.exp(4 * away)), 0.02, 0.98)[None]
    rates = np.stack([solve, (1 - solve) * (1 - inefficient), (1 - solve) * inefficient], axis=-1)
    types = len(_DIFFICULTIES) * len(away)
    rates = np.maximum(rates.reshape(types, len(members), 3), _LEAST)
    return Mixture(members, np.full(types, 1 / types), rates / rates.sum(-1, keepdims=True), _KAPPA)


def _from_centres(members: tuple[Member, ...]) -> tuple[Floats, Floats]:
    """[position, member] twice: how far each member lies beyond each position on the way from low to high, and in all.

    On the line the positions divide it evenly; elsewhere they are members far from one another. The whole reach is 1.
    """
    ways = along(members)
    low, high = ways.min(), ways.max()
    reach = (high - low) or 1.0
    if all(member.alpha is not None for member in members):
        centres = low + reach * (np.arange(_POSITIONS) + 0.5) / _POSITIONS
        away = (ways[None, :] - centres[:, None]) / reach
        return away, away
    places = placed(members)
    distance = distances(places, places)
    chosen = spread_out(distance, _POSITIONS)
    return (ways[None, :] - ways[chosen, None]) / reach, distance[chosen] / (distance.max() or 1.0)


def log_evidence(rates: Floats, kappa: float, counts: Ints) -> Floats:
    """The logarithm of P(one problem's outcomes in their order | type), [G].

    rates: [G, members, OutcomeClass]. counts: [members, OutcomeClass].
    """
    solved, failed = rates[:, :, OutcomeClass.SOLVED], 1 - rates[:, :, OutcomeClass.SOLVED]
    outcomes = np.stack(
        [counts[:, OutcomeClass.SOLVED], counts[:, OutcomeClass.SOLVED + 1 :].sum(-1)], axis=-1
    )
    kinds = rates[:, :, OutcomeClass.SOLVED + 1 :] / failed[:, :, None]
    return _log_polya(np.stack([solved, failed], axis=-1), kappa, outcomes) + _log_polya(
        kinds, KINDS, counts[:, OutcomeClass.SOLVED + 1 :]
    )


def _log_polya(shares: Floats, weight: float, counts: Ints) -> Floats:
    """The logarithm of a Dirichlet-multinomial's chance of one order, summed over members, [G].

    shares: [G, members, kinds], each row sums to 1; the Dirichlet's parameters are weight * shares.
    counts: [members, kinds].
    """
    seen, drawn = counts > 0, counts.sum(-1)
    total = np.full(len(counts), weight)  # of every type the same
    return np.asarray(_few_rising(weight * shares[:, seen], counts[seen]) - _few_rising(total, drawn))


def log_chance(mixture: Mixture, counts: Ints) -> float:
    """The logarithm of the chance that one problem comes to these counts [members, OutcomeClass], in their order."""
    evidence = log_evidence(mixture.rates, mixture.kappa, counts)
    top = evidence.max()
    return float(top + np.log(np.exp(evidence - top) @ mixture.weights))


def _kernel(to: Sequence[Member], of: Sequence[Member]) -> Floats:
    """[to, of], rows sum to 1: how much each member says of another, by how far apart they lie."""
    every = placed([*to, *of])
    width = 0.25 * (distances(every, every).max() or 1.0)
    apart = distances(every[: len(to)], every[len(to) :])
    near = np.exp(-((apart / width) ** 2) / 2) + 1e-9
    return np.asarray(near / near.sum(axis=1, keepdims=True))


def _few_rising(start: Floats, times: Ints) -> Floats:
    """`_log_rising` summed over the last axis; directly, which is faster for the few samples of a request."""
    most = int(times.max(initial=0))
    if most > 32:
        return np.asarray(_log_rising(start, times).sum(-1))
    steps = np.arange(most)
    factors = np.where(steps < times[:, None], start[..., None] + steps, 1.0)
    return np.asarray(np.log(factors).sum(axis=(-2, -1)))


def _log_rising(start: Floats, times: Ints) -> Floats:
    """log(start * (start + 1) * … * (start + times - 1)), by the log-gamma function."""
    return _log_gamma(start + times) - _log_gamma(start)


def _log_gamma(x: Floats) -> Floats:
    """For x > 0, to about 1e-9: Stirling's series at x + 5, brought back by the recurrence."""
    shifted = x + 5
    product = x * (x + 1) * (x + 2) * (x + 3) * (x + 4)
    inverse = 1 / shifted
    series = inverse * (1 / 12 - inverse**2 * (1 / 360 - inverse**2 * (1 / 1260 - inverse**2 / 1680)))
    half_log_two_pi = 0.9189385332046727
    return np.asarray(
        (shifted - 0.5) * np.log(shifted) - shifted + half_log_two_pi + series - np.log(product)
    )
