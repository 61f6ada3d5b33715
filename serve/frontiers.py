"""The frontiers that come with the package."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from alpharay.serve.errors import ConfigError
from alpharay.serve.spelling import did_you_mean, shown

# By name, the configuration of each.
EMBEDDED = {"contest": "frontier.yaml", "parts": "parts/frontier.yaml"}
DEFAULT = "contest"


def embedded_config(name: str = DEFAULT) -> Path:
    """The configuration of the embedded frontier of that name. Raises ConfigError: there is none."""
    if name not in EMBEDDED:
        raise ConfigError(f"{shown(name)} is no embedded frontier{did_you_mean(name, EMBEDDED)}")
    return Path(str(importlib.resources.files("alpharay.serve") / "embedded" / EMBEDDED[name]))
