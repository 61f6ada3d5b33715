"""Policies: they allocate the next samples to members."""

from __future__ import annotations

from collections.abc import Callable

from alpharay.router.learn.router_state import RouterState
from alpharay.router.plugins import Registry
from alpharay.router.policies.adaptive import Adaptive
from alpharay.router.policies.bandit import Bandit
from alpharay.router.policies.base import Policy, PolicyState, Uniform
from alpharay.router.policies.portfolio import Portfolio
from alpharay.router.policies.single import Single

# Other policies are plug-ins: a package registers its class in this entry point group (docs/python.md).
POLICIES: Registry[Callable[[], Policy]] = Registry(
    "alpharay.policies",
    {
        "uniform": Uniform,
        "single": Single,
        "portfolio": Portfolio,
        "bandit": Bandit,
        "adaptive": Adaptive,
    },
)

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
