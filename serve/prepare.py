"""The checkpoints that the members' engines load: merged once, kept between starts."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from alpharay.merge import checkpoint_sha256, merge
from alpharay.merge.errors import TargetExists
from alpharay.merge.methods import plan_ewa
from alpharay.merge.plan import read_settings
from alpharay.serve.config import Config
from alpharay.serve.errors import StartFailed
from alpharay.serve.frontier import ServedMember, member_name

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def cache_folder() -> Path:
    """Where merged checkpoints are kept between starts: ALPHARAY_CACHE, else the user's cache folder."""
    own = os.environ.get("ALPHARAY_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alpharay"


def check_endpoints(config: Config) -> None:
    """Raises MergeError: what merging the endpoints would be refused for, without reading the weights."""
    settings = read_settings(dtype=_DTYPES[config.engine.dtype])
    plan_ewa(low=config.endpoints.low, high=config.endpoints.high, alphas=config.members, settings=settings)


def prepare(config: Config, say: Callable[[str], None]) -> tuple[ServedMember, ...]:
    """Merges the members' checkpoints in the engine's dtype, or finds them merged.

    The merge rounds once, to the dtype that the engine computes in, so that its effective alpha is the
    truth about what is served. On a cluster of several nodes the cache folder must be shared.

    Raises MergeError: the endpoints cannot be merged; the message names the file or tensor.
    Raises StartFailed: there is no place to keep them.
    """
    low, high, dtype = config.endpoints.low, config.endpoints.high, _DTYPES[config.engine.dtype]
    identity = [
        checkpoint_sha256(low),
        checkpoint_sha256(high),
        dtype,
        *(f"{alpha!r}" for alpha in config.members),
    ]
    out = cache_folder() / "members" / hashlib.sha256(" ".join(identity).encode()).hexdigest()[:24]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartFailed(
            f"{out.parent} cannot be made: {error.strerror}; set ALPHARAY_CACHE to a folder that can be written"
        ) from error
    try:
        result = merge(low=low, high=high, alphas=config.members, out=out, dtype=dtype)
    except TargetExists:
        # Left by another version: the cache is ours, and whoever still reads the old files keeps them.
        shutil.rmtree(out)
        result = merge(low=low, high=high, alphas=config.members, out=out, dtype=dtype)
    for warning in result.warnings:
        say(f"warning: {warning}")
    say(f"{len(result.outputs)} checkpoints {'merged into' if result.written else 'found in'} {out}")
    return tuple(
        ServedMember(
            name=member_name(config.name, output.alpha),
            alpha=output.alpha,
            checkpoint=output.path,
            sha256=output.sha256,
            effective_alpha=output.effective_alpha,
        )
        for output in result.outputs
    )
