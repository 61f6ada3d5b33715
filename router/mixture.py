"""What kinds of problems there are, and what each member makes of each kind: learnt from judged draws.

A problem is of one of G latent types with chances `weights`. Within a type, member m solves, is incorrect
or is inefficient with mean `rates[g, m]`; each problem has its own probabilities about that mean, drawn
from a Dirichlet whose concentration kappa says how alike the problems of a type are. So

    P(counts n of one problem | g) = prod_m DirichletMultinomial(n_m; kappa * rates[g, m])

Types make members correlate (who fails like this at alpha 0.5 will fail like that at 1.0); the Dirichlet is
the idiosyncrasy that is left: failing again and again speaks against a member itself. Both are learnt by
expectation-maximisation on the counts of a window of requests. The likelihood is also right for
requests that stopped at their first pass, because when to stop depended on nothing but what was seen.

Before anything is learnt, types are a grid: how difficult, and at which alpha best solved. Below
that alpha attempts tend to run out of time, above it to be wrong, and no member is better than another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alpharay.router.draw import Member

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DIFFICULTIES = (0.8, 0.4, 0.12, 0.03, 0.005)
_POSITIONS = 4
TYPES = len(_DIFFICULTIES) * _POSITIONS
_LEAST = 1e-4  # of any rate, so that nothing is ever quite impossible
_PRIOR_SAMPLES = 3.0  # how many problems' evidence the grid weighs beside what is learnt
_SHARED_SAMPLES = 3.0  # likewise what neighbours along alpha say of a member
_KAPPAS = (1.0, 300.0)
_MOST_COUNTED = 256  # samples of one member on one problem; more are scaled down


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """weights: [G], sum 1. rates: [G, members, Fate], each row sums to 1. kappa: > 0. Never changed in place."""

    members: tuple[Member, ...]
    weights: Floats
    rates: Floats
    kappa: float

    def rates_of(self, members: Sequence[Member]) -> Floats:
        """[G, len(members), Fate]; a member never seen is taken to be like its neighbours along alpha."""
        places = {member.name: place for place, member in enumerate(self.members)}
        if all(member.name in places for member in members):
            return self.rates[:, [places[member.name] for member in members]]
        near = _kernel([m.alpha for m in members], [m.alpha for m in self.members])
        columns = [
            self.rates[:, places[member.name]]
            if member.name in places
            else np.einsum("m,gmc->gc", near[row], self.rates)
            for row, member in enumerate(members)
        ]
        return np.stack(columns, axis=1)

    def widened(self, members: Sequence[Member]) -> Mixture:
        """The same with columns for these members, in this order."""
        return Mixture(tuple(members), self.weights, self.rates_of(members), self.kappa)


@lru_cache(maxsize=64)
def unlearnt(members: tuple[Member, ...]) -> Mixture:
    """The grid for these members, in which all are equally good."""
    alphas = np.array([member.alpha for member in members])
    low, high = alphas.min(), alphas.max()
    span = (high - low) or 1.0
    centres = low + span * (np.arange(_POSITIONS) + 0.5) / _POSITIONS
    away = (alphas[None, :] - centres[:, None]) / span  # [position, member]
    shape = np.exp(-((away / 0.5) ** 2))
    shape /= shape.mean(axis=0)
    solve = 1 - (1 - np.array(_DIFFICULTIES)[:, None, None]) ** shape[None]  # [difficulty, position, member]
    solve *= np.array(_DIFFICULTIES)[:, None, None] / solve.mean(axis=1, keepdims=True)
    solve = np.clip(solve, _LEAST, 0.98)
    inefficient = np.clip(1 / (1 + np.exp(4 * away)), 0.02, 0.98)[None]
    rates = np.stack([solve, (1 - solve) * (1 - inefficient), (1 - solve) * inefficient], axis=-1)
    rates = np.maximum(rates.reshape(TYPES, len(members), 3), _LEAST)
    return Mixture(members, np.full(TYPES, 1 / TYPES), rates / rates.sum(-1, keepdims=True), 20.0)


def refit(mixture: Mixture, counts: Ints, steps: int = 3) -> Mixture:
    """Some steps of expectation-maximisation.

    counts: [requests, members, Fate], first attempts only, members as in `mixture`.
    """
    if not len(counts):
        return mixture
    grid = unlearnt(mixture.members).rates
    near = _kernel(*[[member.alpha for member in mixture.members]] * 2)
    counts = _capped(counts)
    weights, rates, kappa = mixture.weights, mixture.rates, mixture.kappa
    for _ in range(steps):
        evidence, kappa = _best_kappa(counts, weights, rates, kappa)
        joint = np.log(weights) + evidence
        share = np.exp(joint - joint.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)  # [requests, G]
        weights = (share.sum(axis=0) + 1.0 / TYPES) / (len(counts) + 1.0)
        # Minka's fixed point: what a sample adds falls the more of its kind the problem already has.
        seen = np.einsum("rg,rgmc->gmc", share, _gathered(_expected_tables(kappa * rates, counts), counts))
        shared = np.einsum("mk,gkc->gmc", near, seen)
        base = (shared + _PRIOR_SAMPLES * grid) / (shared.sum(-1, keepdims=True) + _PRIOR_SAMPLES)
        rates = (seen + _SHARED_SAMPLES * base) / (seen.sum(-1, keepdims=True) + _SHARED_SAMPLES)
        rates = np.maximum(rates, _LEAST)
        rates /= rates.sum(-1, keepdims=True)
    return Mixture(mixture.members, weights, rates, kappa)


def log_evidence(pseudo: Floats, counts: Ints) -> Floats:
    """The logarithm of P(one problem's outcomes in their order | type), [G].

    pseudo: kappa * rates, [G, members, Fate]. counts: [members, Fate].
    """
    seen = counts > 0
    rows = counts.sum(-1) > 0
    up = _log_rising(pseudo[:, seen], counts[seen]).sum(-1)
    down = _log_rising(pseudo.sum(-1)[:, rows], counts.sum(-1)[rows]).sum(-1)
    return np.asarray(up - down)


def _best_kappa(counts: Ints, weights: Floats, rates: Floats, kappa: float) -> tuple[Floats, float]:
    """The evidence [requests, G] under the likeliest of a few concentrations near the last."""
    found: list[tuple[float, int, float, Floats]] = []
    for factor in (1.0, 1.5, 1 / 1.5):
        tried = float(np.clip(kappa * factor, *_KAPPAS))
        evidence = _evidence(tried * rates, counts)
        top = evidence.max(axis=1, keepdims=True)
        total = float((np.log(np.exp(evidence - top) @ weights) + top[:, 0]).sum())
        found.append((total, -len(found), tried, evidence))
    _, _, kappa, evidence = max(found, key=lambda each: each[:2])
    return evidence, kappa


def _evidence(pseudo: Floats, counts: Ints) -> Floats:
    """`log_evidence` of many problems, [requests, G]."""
    most = int(counts.sum(-1).max())
    steps = np.arange(most)
    rising = _cumulated(np.log(pseudo[..., None] + steps))
    total = _cumulated(np.log(pseudo.sum(-1)[..., None] + steps))
    members = np.arange(counts.shape[1])
    up = _gathered(rising, counts).sum(axis=(2, 3))
    down = total[:, members, counts.sum(-1)].sum(axis=2).T  # [G, requests, members] before the sum
    return np.asarray(up - down)


def _expected_tables(pseudo: Floats, counts: Ints) -> Floats:
    """[G, members, Fate, n + 1]: a * (digamma(a + n) - digamma(a)) = sum over i < n of a / (a + i)."""
    steps = np.arange(int(counts.max()))
    return _cumulated(pseudo[..., None] / (pseudo[..., None] + steps))


def _cumulated(terms: Floats) -> Floats:
    """Sums of the first 0, 1, … n terms along the last axis."""
    first = np.zeros((*terms.shape[:-1], 1))
    return np.concatenate([first, np.cumsum(terms, axis=-1)], axis=-1)


def _gathered(table: Floats, counts: Ints) -> Floats:
    """The table [G, members, Fate, n] at each request's own n: [requests, G, members, Fate]."""
    members = np.arange(counts.shape[1])[:, None]
    fates = np.arange(counts.shape[2])[None, :]
    return np.asarray(table[:, members, fates, counts].transpose(1, 0, 2, 3))


def _capped(counts: Ints) -> Ints:
    drawn = counts.sum(-1, keepdims=True)
    scale = np.minimum(1.0, _MOST_COUNTED / np.maximum(drawn, 1))
    return np.asarray(np.rint(counts * scale), dtype=np.int64)


def _kernel(to: Sequence[float], of: Sequence[float]) -> Floats:
    """[to, of], rows sum to 1: how much each member says of another, by their distance along alpha."""
    here, there = np.array(to)[:, None], np.array(of)[None, :]
    every = np.concatenate([here.ravel(), there.ravel()])
    width = 0.25 * ((every.max() - every.min()) or 1.0)
    near = np.exp(-(((here - there) / width) ** 2) / 2) + 1e-9
    return np.asarray(near / near.sum(axis=1, keepdims=True))


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
