"""Policies: which member each of the next samples goes to."""

from __future__ import annotations

from collections.abc import Callable

from alpharay.router.learn.router_state import RouterState
from alpharay.router.policies.adaptive import Adaptive
from alpharay.router.policies.bandit import Bandit
from alpharay.router.policies.base import Policy, PolicyState
from alpharay.router.policies.portfolio import Portfolio
from alpharay.router.policies.single import Single
from alpharay.router.policies.uniform import Uniform

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
    "PolicyState",
    "Portfolio",
    "RouterState",
    "Single",
    "Uniform",
]
