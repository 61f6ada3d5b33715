"""Simulated frontiers to try router policies on: their truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpharay.router import Member
from alpharay.router.learn.features import DIMENSION

ALPHAS = (-0.5, 0.0, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Frontier:
    """rates: [problems, members, OutcomeClass], the true chances of each problem. contexts: [problems, features].

    outcomes: [problems, members, samples], the OutcomeClass of every sample that may be drawn, the same for all
    policies, so that they are compared on the same luck. earlier: how many problems at the front are the
    log that policies learn from before they are tried on the others.
    """

    name: str
    members: tuple[Member, ...]
    rates: np.ndarray
    contexts: np.ndarray
    outcomes: np.ndarray
    earlier: int


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _sampled(name, rng, members, rates, latent, earlier, samples):
    """Draws every sample, and contexts that tell of the latent properties through noise."""
    cuts = rates.cumsum(axis=-1)[..., None, :]
    chance = rng.random((*rates.shape[:2], samples, 1))
    outcomes = (chance > cuts[..., :2]).sum(axis=-1).astype(np.int8)
    contexts = rng.normal(0, 0.2, (len(rates), DIMENSION))
    contexts[:, : latent.shape[1]] += 0.3 * latent
    return Frontier(name, members, rates, contexts, outcomes, earlier)


def simulated(
    kind: str, rng: np.random.Generator, *, problems=400, earlier=200, samples=64, alphas=ALPHAS
) -> Frontier:
    """smooth: solve chances are a smooth bump along alpha, at a centre of each problem's own.
    idiosyncratic: besides, every member is better or worse at every single problem by chance.
    dominant: one member solves nearly everything better. similar: all members are the same.
    drifting: halfway through the trial another part of the frontier becomes the better one.
    misleading: the log is of other traffic, on which the other end of the frontier was better, and
        failures there told the opposite of what they tell now.
    """
    members = tuple(Member(name=f"frontier@{alpha:g}", alpha=alpha) for alpha in alphas)
    along = np.array(alphas)
    level = rng.normal(-2.5, 2.0, problems)
    centre = rng.normal(0.7, 0.8, problems)
    sharp = {"smooth": 1.0, "idiosyncratic": 0.5, "dominant": 0.3, "similar": 0.0}.get(kind, 1.5)
    number = np.arange(problems)
    sign = np.ones(problems)
    if kind == "drifting":
        centre = np.where(number < (problems + earlier) // 2, centre - 0.9, centre + 0.9)
    if kind == "misleading":
        centre = np.where(number < earlier, centre - 1.2, centre + 0.8)
        sign = np.where(number < earlier, -1.0, 1.0)
    away = along[None, :] - centre[:, None]
    logit = level[:, None] - sharp * away**2 + sharp * 0.5
    if kind == "idiosyncratic":
        logit = logit + rng.normal(0, 1.6, logit.shape)
    if kind == "dominant":
        logit[:, len(alphas) // 2 + 1] += 2.0
    solve = _sigmoid(logit)
    slow = _sigmoid(-2.0 * sign[:, None] * away)
    if kind == "similar":
        slow = np.full_like(solve, 0.4)
    rates = np.stack([solve, (1 - solve) * (1 - slow), (1 - solve) * slow], axis=-1)
    latent = np.stack([level / 2, centre], axis=1)
    return _sampled(kind, rng, members, rates, latent, earlier, samples)


SIMULATED = ("smooth", "idiosyncratic", "dominant", "similar", "drifting", "misleading")
