"""Levels of cases by how large their inputs are, for data that does not say."""

from __future__ import annotations

import math
from collections.abc import Sequence

LARGEST = 3


def levels(inputs: Sequence[str]) -> list[int]:
    """1 for inputs of less than ten times the smallest one's bytes, then one more for each further factor of ten, 3 at most.

    Level 0 is left to what is public.
    """
    sizes = [max(1, len(text.encode("utf-8", "surrogatepass"))) for text in inputs]
    smallest = min(sizes, default=1)
    return [min(LARGEST, 1 + math.floor(math.log10(size / smallest))) for size in sizes]
