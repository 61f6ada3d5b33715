"""What a text without a program claims as its answer, in one spelling."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_CLAIM = re.compile(r"(?:final answer|answer)\s*(?:is|:|=)\s*(.+)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_LONGEST = 200


def normalised(text: str) -> str | None:
    r"""The last \boxed{…}, else what follows the last "answer is", else the last line; None: there is none.

    Case, surrounding punctuation, dollar signs and the way a number is written make no difference.
    """
    claim = _boxed(text)
    if claim is None:
        claims = _CLAIM.findall(text)
        lines = [line for line in text.split("\n") if line.strip()]
        claim = claims[-1] if claims else lines[-1] if lines else ""
    plain = re.sub(r"\\(?:text|mathrm)\s*\{([^{}]*)\}", r"\1", claim).replace("\\,", "").replace("\\!", "")
    plain = re.sub(r"\s+", " ", plain.strip().strip("*_`$ .:;!\"'")).casefold()[:_LONGEST]
    return _number(plain) or plain or None


def _boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed")
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[begin + 1 : index]
    return None


def _number(text: str) -> str | None:
    bare = text.rstrip("%").strip("$ ")
    if not _NUMBER.fullmatch(bare):
        return None
    try:
        value = Decimal(bare.replace(",", ""))
    except InvalidOperation:
        return None
    return f"{value.normalize():f}" if value else "0"
