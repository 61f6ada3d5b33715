"""Converters from other problem formats: one module per format, all pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alpharay.judge.formats import apps, codecontests, humaneval, livecodebench, mbpp
from alpharay.judge.formats.row import Unusable

Json = dict[str, Any]

# Formats of one row a problem. `codecontests+` (codecontests_plus.py) may run a row's programs, `kattis` is one folder a
# problem (kattis.py).
ROWS: Mapping[str, Callable[[Json], Json]] = {
    "humaneval": humaneval.convert,
    "mbpp": mbpp.convert,
    "livecodebench": livecodebench.convert,
    "apps": apps.convert,
    "taco": apps.convert,
    "codecontests": codecontests.convert,
}
FORMATS = (*ROWS, "codecontests+", "kattis")

__all__ = ["FORMATS", "ROWS", "Unusable"]
