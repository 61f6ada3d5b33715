"""Suggests the known word that an unknown one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def shown(word: object) -> str:
    """A user's word as an error may quote it, at a bounded length."""
    if isinstance(word, int) and abs(word) >= 10**20:
        return "a very large number"
    text = repr(word)
    return text if len(text) <= 100 else text[:96] + "...'"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'budget'?` or, where nothing is near, the whole list."""
    known = sorted(known)
    near = difflib.get_close_matches(word[:100], known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
