"""Policies: which member each of the next samples goes to."""

from __future__ import annotations

from collections.abc import Callable

from alpharay.router.policies.adaptive import Adaptive
from alpharay.router.policies.bandit import Bandit
from alpharay.router.policies.base import Policy, Situation
from alpharay.router.policies.portfolio import Portfolio
from alpharay.router.policies.single import Single
from alpharay.router.policies.uniform import Uniform
from alpharay.router.standing import Standing

POLICIES: dict[str, Callable[[], Policy]] = {
    "uniform": Uniform,
    "single": Single,
    "portfolio": Portfolio,
    "bandit": Bandit,
    "adaptive": Adaptive,
}

__all__ = [
    "POLICIES",
    "Adaptive",
    "Bandit",
    "Policy",
    "Portfolio",
    "Single",
    "Situation",
    "Standing",
    "Uniform",
]
