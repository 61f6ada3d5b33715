"""The null baseline of a search: what a step of the same length in a random direction would be worth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from alpharay.merge.checkpoints.delta import is_delta
from alpharay.merge.compute.random_direction import write_random_direction
from alpharay.serve.config import Config
from alpharay.serve.evaluate.search.members import Checkpoints

RANDOM = "random"


def has_random_direction(config: Config, names: Sequence[str]) -> bool:
    """Whether there is a step to take the length of: two full checkpoints, hosted as such, and the name is free."""
    return (
        config.hosting != "adapters"
        and len(_full(config, names)) > 1
        and RANDOM not in config.named_checkpoints
    )


def with_random_direction(
    config: Config, names: Sequence[str], folder: Path, *, seed: int, say: Callable[[str], None]
) -> Checkpoints:
    """The checkpoints of the configuration and, as `random`, one as far from the first as the last is.

    It is written to a folder in `folder`, named by what it is made of. Raises MergeError.
    """
    full = _full(config, names)
    identity = hashlib.sha256(f"{full[0].resolve()} {full[-1].resolve()} {seed}".encode()).hexdigest()[:12]
    out = folder / f"{RANDOM}-{identity}"
    if not out.is_dir():
        say(f"writing the null baseline to {out}: {full[0]} and a random step as long as to {full[-1]}")
    write_random_direction(
        start=full[0], end=full[-1], out=out, seed=seed, allow_config=config.differing_config
    )
    return {**config.named_checkpoints, RANDOM: out}


def _full(config: Config, names: Sequence[str]) -> list[Path]:
    checkpoints = [config.named_checkpoints[name] for name in names]
    return [path for path in checkpoints if isinstance(path, Path) and not is_delta(path)]
