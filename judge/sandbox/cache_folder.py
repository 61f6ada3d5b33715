"""Where alpharay keeps between starts what is expensive to make."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """ALPHARAY_CACHE, else the user's cache folder."""
    own = os.environ.get("ALPHARAY_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alpharay"
