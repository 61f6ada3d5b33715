"""How solving goes together across members and problems: a Gaussian over logits, learnt from judged draws.

Every problem has a vector z of 2 * members logits: for member m, sigmoid(z[m]) is its chance to solve it, and
sigmoid(z[M + m]) the share of its failures that are inefficient. Over problems z ~ N(mean, covariance). The
covariance holds all that carries over: hard problems are hard for all; members that lie near one another solve alike; who
runs out of time at 0.5 tells of a solution at 1.5; and what a member has of its own is on the diagonal.

It is fitted by expectation-maximisation with a Laplace approximation per problem (as in multi-output logistic
Gaussian-process classification: Rasmussen and Williams 2006, section 3.4), under an inverse-Wishart prior
that knows where the members lie (`placing.py`). The likelihood is also right for requests that stopped at their first pass,
because when to stop depended on nothing but what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alpharay.router.draw import Member
from alpharay.router.learn.logged_outcome import OutcomeClass
from alpharay.router.learn.mixture import Mixture, unlearnt
from alpharay.router.learn.placing import along, distances, placed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PARTICLES = 512  # points that stand for the Gaussian
_KAPPA = 50.0  # how alike problems at one point are; keeps few points from being believed too much
_KEPT_IN_DOUBT = 0.5
_NEWTON_STEPS = 5
_MOST_COUNTED = 64  # samples of one member on one problem; more are scaled down

# The prior, as if seen on so many problems.
_PRIOR_PROBLEMS = 15.0
_MEAN_PROBLEMS = 4.0
_SOLVE, _INEFFICIENT = -1.5, -0.5  # logits
# Variances of the solve logits: of the problem, by place, of each member alone; then of the failures'.
_DIFFICULTY, _ALONG, _OWN = 3.0, 0.8, 0.5
_KIND, _KIND_OWN = 1.5, 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Latent:
    """mean: [2 * members]. covariance: [2 * members, 2 * members]. Never changed in place."""

    members: tuple[Member, ...]
    mean: Floats
    covariance: Floats

    def mixture(self, doubt: float = 0.0) -> Mixture:
        """The Gaussian as equally likely points, which stand for types of problems.

        doubt: the weight, in [0, 1), of the types that are assumed before anything is learnt. Where what was
        learnt fails again and again, they take over: other members are tried, and learnt of, after all.
        """
        size = len(self.members)
        points = self.mean + _normals(2 * size) @ np.linalg.cholesky(self.covariance).T
        chance = 1 / (1 + np.exp(-np.clip(points, -12, 12)))
        solve, slow = chance[:, :size], chance[:, size:]
        rates = np.stack([solve, (1 - solve) * (1 - slow), (1 - solve) * slow], axis=-1)
        weights = np.full(PARTICLES, 1 / PARTICLES)
        if doubt:
            blank = unlearnt(self.members)
            weights = np.concatenate([(1 - doubt) * weights, doubt * blank.weights])
            rates = np.concatenate([rates, self._doubted(blank.rates)])
        return Mixture(self.members, weights, rates, _KAPPA)

    def _doubted(self, blank: Floats) -> Floats:
        """The types assumed before anything is learnt, with half of what sets members apart by what was learnt.

        All of it would leave no doubt; none of it would send samples to members that solve next to nothing.
        """
        size = len(self.members)
        worse = self.mean[:size] - self.mean[:size].max()
        odds = blank[:, :, 0] / (1 - blank[:, :, 0]) * np.exp(_KEPT_IN_DOUBT * worse)
        solve = (odds / (1 + odds))[:, :, None]
        failed = blank[:, :, 1:] / blank[:, :, 1:].sum(-1, keepdims=True)
        return np.concatenate([solve, (1 - solve) * failed], axis=-1)


@lru_cache(maxsize=64)
def prior(members: tuple[Member, ...]) -> Latent:
    """All members alike in mean and variance; neighbours alike on the same problem."""
    size = len(members)
    ways = along(members)
    way = (ways - ways.mean()) / ((ways.max() - ways.min()) or 1.0)
    near = np.exp(-(_apart(members, way) ** 2) / (2 * 0.35**2))
    solve = _DIFFICULTY + _ALONG * near + _OWN * np.eye(size)
    kind = _KIND + _KIND_OWN * np.eye(size)
    # A problem whose failures are inefficient is better solved above where it failed, on the way to high.
    cross = 1.2 * way[:, None] * np.ones((1, size))
    covariance = np.block([[solve, cross], [cross.T, kind]])
    # The cross terms may ask for more than the blocks hold; shrinking them keeps it a covariance.
    while np.linalg.eigvalsh(covariance)[0] < 0.05:
        cross = cross * 0.9
        covariance = np.block([[solve, cross], [cross.T, kind]])
    return Latent(members, np.repeat([_SOLVE, _INEFFICIENT], size), covariance)


def _apart(members: tuple[Member, ...], way: Floats) -> Floats:
    """[members, members]: how far they lie from one another; the two farthest are 1 apart."""
    if all(member.alpha is not None for member in members):
        return np.asarray(way[:, None] - way[None, :])
    places = placed(members)
    distance = distances(places, places)
    return np.asarray(distance / (distance.max() or 1.0))


def refit(latent: Latent, counts: Ints, steps: int = 2, worth: Floats | None = None) -> Latent:
    """Some steps of expectation-maximisation.

    counts: [requests, members, OutcomeClass], first attempts only, members as in `latent`.
    worth: [requests], what each counts, in (0, 1]; all the same when left out.
    """
    if not len(counts):
        return latent
    worth = np.ones(len(counts)) if worth is None else worth
    before, size = prior(latent.members), len(latent.members)
    scale = np.minimum(1.0, _MOST_COUNTED / np.maximum(counts.sum(-1, keepdims=True), 1))
    scaled = counts * scale
    failed = scaled.sum(-1) - scaled[:, :, OutcomeClass.SOLVED]
    hits = np.concatenate([scaled[:, :, OutcomeClass.SOLVED], scaled[:, :, OutcomeClass.INEFFICIENT]], axis=1)
    tries = np.concatenate([scaled.sum(-1), failed], axis=1)
    mean, covariance = latent.mean, latent.covariance
    for _ in range(steps):
        z, spread = _modes(mean, covariance, hits, tries)
        total = worth.sum()
        typical = np.repeat([z[:, :size].mean(), z[:, size:].mean()], size)
        mean = (worth @ z + _MEAN_PROBLEMS * typical) / (total + _MEAN_PROBLEMS)
        away = z - mean
        scatter = (away * worth[:, None]).T @ away + np.einsum("r,rij->ij", worth, spread)
        covariance = (scatter + _PRIOR_PROBLEMS * before.covariance) / (total + _PRIOR_PROBLEMS)
    return Latent(latent.members, mean, covariance)


def _modes(mean: Floats, covariance: Floats, hits: Floats, tries: Floats) -> tuple[Floats, Floats]:
    """Each problem's likeliest z [requests, d], and the covariance about it [requests, d, d].

    Newton's method in the form that inverts no covariance: with W the likelihood's curvature (diagonal),
    z = mean + K W^1/2 B^-1 W^1/2 (…) and B = I + W^1/2 K W^1/2 is well conditioned.
    """
    z = np.broadcast_to(mean, hits.shape).copy()
    eye = np.eye(len(mean))
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(z, -30, 30)))
        root = np.sqrt(tries * chance * (1 - chance))
        pull = root**2 * (z - mean) + hits - tries * chance
        inner = eye + root[:, :, None] * covariance * root[:, None, :]
        solved = np.linalg.solve(inner, (root * (pull @ covariance))[:, :, None])[:, :, 0]
        step = mean + (pull - root * solved) @ covariance - z
        z = z + np.clip(step, -3, 3)
    chance = 1 / (1 + np.exp(-np.clip(z, -30, 30)))
    root = np.sqrt(tries * chance * (1 - chance))
    inner = eye + root[:, :, None] * covariance * root[:, None, :]
    half = root[:, :, None] * covariance
    return z, covariance - half.transpose(0, 2, 1) @ np.linalg.solve(inner, half)


@lru_cache(maxsize=16)
def _normals(dimensions: int) -> Floats:
    """[PARTICLES, dimensions] standard normal points whose mean is exactly 0 and covariance exactly 1."""
    half = np.random.Generator(np.random.PCG64(7)).normal(size=(PARTICLES // 2, dimensions))
    points = np.concatenate([half, -half])
    factor = np.linalg.cholesky(points.T @ points / PARTICLES)
    return np.asarray(np.linalg.solve(factor, points.T).T)
