"""Selectors: the order in which finished candidates are answered.

Each is a pure function of the candidates and the evidence that they carry; none looks at a payload. A candidate
without the evidence that a selector needs stands alone: it agrees with nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from alpharay.router.draw import Candidate
from alpharay.router.selection.evidence import NEEDS, NOTHING, Need
from alpharay.router.selection.order import SCORER, SELECTORS

__all__ = ["SCORER", "SELECTORS", "Need", "needs_of", "ranked", "selector_names"]


def selector_names() -> list[str]:
    """Those that a request or a configuration may name; a scorer is named by its address."""
    return sorted(set(SELECTORS) - {SCORER})


def needs_of(selector: str) -> frozenset[Need]:
    """The evidence that must be gathered for the selector of that name; a plug-in has them in an attribute `needs`."""
    if selector in NEEDS:
        return NEEDS[selector]
    needs: frozenset[Need] = getattr(SELECTORS[selector], "needs", NOTHING)
    return needs


def ranked(candidates: Sequence[Candidate], selector: str = "tests") -> list[Candidate]:
    """All candidates, best first, under the selector of that name."""
    return SELECTORS[selector](candidates)
