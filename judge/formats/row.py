"""Typed access to a row of somebody else's file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class Unusable(ValueError):
    """A row or folder that is no problem that can be judged here; the text says why.

    reason: the same for all that are left out alike. detail: where it is in this one.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def text(row: Mapping[str, Any], *names: str, default: str | None = None) -> str:
    """The first of those fields that the row has. Raises Unusable: it has none, or it is no text."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value
        if value is not None:
            raise Unusable(f"{name} is not text")
    if default is None:
        raise Unusable(f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing")
    return default


def decoded(value: Any, name: str) -> Any:
    """JSON that a row carries as text, or as it is. Raises Unusable."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{name} is not JSON: {error}") from error


def identity(row: Mapping[str, Any], *names: str) -> str:
    """The row's id as text, a number included. Raises Unusable."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value):
            return str(value)
    raise Unusable(f"it has no id ({' or '.join(names)})")
