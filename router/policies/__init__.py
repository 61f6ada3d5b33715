"""Policies: which member each of the next samples goes to."""

from __future__ import annotations

from collections.abc import Callable

from alpharay.router.policies.base import Policy, Situation
from alpharay.router.policies.single import Single
from alpharay.router.policies.uniform import Uniform
from alpharay.router.standing import Standing

POLICIES: dict[str, Callable[[], Policy]] = {"uniform": Uniform, "single": Single}

__all__ = ["POLICIES", "Policy", "Single", "Situation", "Standing", "Uniform"]
