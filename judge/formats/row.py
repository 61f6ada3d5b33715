"""Typed access to a row of another format's file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PROGRAM = "Write a Python program that reads standard input and prints the answer."
ONE_BLOCK = "Answer with one code block."


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


def statement(row: Mapping[str, Any]) -> str:
    """The row's `description`. Raises Unusable: part of it is an image."""
    description = text(row, "description").strip()
    if "<image>" in description:
        raise Unusable("its statement has images, which are not in the data")
    return description


def limits(seconds: float | None, megabytes: float | None) -> dict[str, Any]:
    """A problem's limits, brought within what a problem may have. None or 0: the row has none."""
    fields: dict[str, Any] = {}
    if seconds:
        fields["time_limit_s"] = min(max(seconds, 0.01), 600.0)
    if megabytes:
        fields["memory_limit_mb"] = int(min(max(megabytes, 64), 65536))
    return fields


def identity(row: Mapping[str, Any], *names: str) -> str:
    """The row's id as text, a number included. Raises Unusable."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value):
            return str(value)
    raise Unusable(f"it has no id ({' or '.join(names)})")
