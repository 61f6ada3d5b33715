"""The split that an audit recommends, as `alpharay audit` writes it into portfolio.yaml."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from alpharay.serve.errors import ConfigError
from alpharay.serve.spelling import did_you_mean, shown


def read_weights(path: Path, members: Collection[str]) -> dict[str, float]:
    """Its `weights`: per member's name the part of a budget.

    members: those that are served. Raises ConfigError.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"router.portfolio: {path} cannot be read: {' '.join(str(error).split())}"
        ) from error
    weights: Any = found.get("weights") if isinstance(found, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise ConfigError(f"router.portfolio: {path} has no `weights`, a mapping of members to their parts")
    for name, weight in weights.items():
        if name not in members:
            raise ConfigError(
                f"router.portfolio: {path} gives a part to {shown(name)}, which is not served"
                f"{did_you_mean(str(name), members)}"
            )
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (number and math.isfinite(weight) and weight >= 0):
            raise ConfigError(
                f"router.portfolio: {path}: the part of {name} must be a number from 0, got {shown(weight)}"
            )
    if not sum(weights.values()):
        raise ConfigError(f"router.portfolio: {path} gives every member nothing")
    return {str(name): float(weight) for name, weight in weights.items()}
