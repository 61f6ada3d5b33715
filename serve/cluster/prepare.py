"""What the members' engines load: merged once and kept between starts, or computed when an engine moves."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from alpharay.merge import MergeResult, checkpoint_sha256, merge, merge_adapters
from alpharay.merge.adapters.adapter import check_same_base, open_adapter
from alpharay.merge.checkpoints.companions import has_tokenizer
from alpharay.merge.checkpoints.prompting import prompting_differences
from alpharay.merge.compute.methods import plan_ewa
from alpharay.merge.compute.plan import Plan, read_settings
from alpharay.merge.errors import TargetExists
from alpharay.merge.write.preview import preview
from alpharay.serve.config import Config
from alpharay.serve.errors import StartFailed
from alpharay.serve.state.engine_spec import CheckpointWeights, EngineSpec, LoraWeights, MergeOnLoadWeights
from alpharay.serve.state.members import ServedMember, member_name

Say = Callable[[str], None]
Prepared = tuple[tuple[ServedMember, ...], tuple[EngineSpec, ...]]

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def cache_folder() -> Path:
    """Where merged checkpoints are kept between starts: ALPHARAY_CACHE, else the user's cache folder."""
    own = os.environ.get("ALPHARAY_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alpharay"


def check_endpoints(config: Config) -> None:
    """Raises MergeError: what merging the endpoints would be refused for, without reading the weights."""
    if config.adapters is not None:
        low, high = open_adapter(config.adapters.low), open_adapter(config.adapters.high)
        check_same_base(low, high, str(config.adapters.base))
        return
    _plan(config, config.members)


def prepare(config: Config, say: Say) -> Prepared:
    """The members and their engines' engine specs, with all that the engines will load written or checked.

    The merge rounds once, to the dtype that the engine computes in, so that its effective alpha is the
    truth about what is served. On a cluster of several nodes the cache folder must be shared.

    Raises MergeError: the endpoints cannot be merged; the message names the file or tensor.
    Raises StartFailed: there is no place to keep them.
    """
    return {"replicas": _replicas, "adapters": _adapters, "shift": _shift}[config.hosting](config, say)


def _replicas(config: Config, say: Say) -> Prepared:
    """Every member's checkpoint written, in the engine's dtype."""
    low, high = _endpoints(config)
    dtype = _DTYPES[config.engine.dtype]
    out = _place(
        "members", checkpoint_sha256(low), checkpoint_sha256(high), dtype, *map(repr, config.members)
    )
    result = _afresh(
        out,
        lambda: merge(
            low=low,
            high=high,
            alphas=config.members,
            out=out,
            dtype=dtype,
            allow_config=_allowed(config),
        ),
    )
    members = _members(config, result, say)
    specs = tuple(
        EngineSpec(members=(member.name,), weights=CheckpointWeights(checkpoint=output.path))
        for member, output in zip(members, result.outputs, strict=True)
    )
    return members, specs


def _adapters(config: Config, say: Say) -> Prepared:
    """Every member as one exact adapter of the base."""
    assert config.adapters is not None
    base, low, high = config.adapters.base, config.adapters.low, config.adapters.high
    if not (base / "config.json").is_file():
        raise StartFailed(f"adapters.base: {base} is not a checkpoint, it has no config.json")
    out = _place("adapters", checkpoint_sha256(low), checkpoint_sha256(high), *map(repr, config.members))
    result = _afresh(
        out,
        lambda: merge_adapters(low=low, high=high, alphas=config.members, out=out, base=str(base)),
    )
    for line in (line for end in (low, high) for line in prompting_differences(base, end, base)):
        say(f"warning: {line}")
    members = _members(config, result, say)
    weights = LoraWeights(
        base=base,
        adapters={member.name: output.path for member, output in zip(members, result.outputs, strict=True)},
        max_rank=max(_rank(output.path) for output in result.outputs),
    )
    return members, (EngineSpec(members=tuple(member.name for member in members), weights=weights),)


def _shift(config: Config, say: Say) -> Prepared:
    """Nothing is written: the engine computes each member from the endpoints, when it moves there.

    A member's hash is that of what determines its weights, the endpoints' hashes, alpha and dtype: hashing
    the weights themselves would take a merge. Its effective alpha is from a sample of them.
    """
    low, high = _endpoints(config)
    dtype = _DTYPES[config.engine.dtype]
    found = preview(_plan(config, config.members), out=None)
    ends = (checkpoint_sha256(low), checkpoint_sha256(high))
    for warning in found.warnings:
        say(f"warning: {warning}")
    members = tuple(
        ServedMember(
            name=member_name(config.name, alpha),
            alpha=alpha,
            sha256=hashlib.sha256(" ".join((*ends, dtype, repr(alpha))).encode()).hexdigest(),
            effective_alpha=realised.effective_alpha,
        )
        for alpha, (_, realised, _) in zip(config.members, found.outputs, strict=True)
    )
    alphas = {member.name: member.alpha for member in members}
    weights = MergeOnLoadWeights(
        low=low,
        high=high,
        alphas=alphas,
        dtype=dtype,
        # One input may have been saved without.
        tokenizer=next((end for end in (low, high) if has_tokenizer(end)), None),
        allow_config=_allowed(config),
    )
    return members, (EngineSpec(members=tuple(alphas), weights=weights),)


def _rank(adapter: Path) -> int:
    return max(int(factors.a.shape[0]) for factors in open_adapter(adapter).modules.values())


def _endpoints(config: Config) -> tuple[Path, Path]:
    assert config.endpoints is not None
    return config.endpoints.low, config.endpoints.high


def _allowed(config: Config) -> tuple[str, ...]:
    assert config.endpoints is not None
    return config.endpoints.allow_config


def _plan(config: Config, alphas: Sequence[float]) -> Plan:
    low, high = _endpoints(config)
    settings = read_settings(dtype=_DTYPES[config.engine.dtype], allow_config=_allowed(config))
    return plan_ewa(low=low, high=high, alphas=alphas, settings=settings)


def _place(kind: str, *identity: str) -> Path:
    """The folder of one merge in the cache, by what determines it."""
    out = cache_folder() / kind / hashlib.sha256(" ".join(identity).encode()).hexdigest()[:24]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartFailed(
            f"{out.parent} cannot be made: {error.strerror}; set ALPHARAY_CACHE to a folder that can be written"
        ) from error
    return out


def _afresh(out: Path, run: Callable[[], MergeResult]) -> MergeResult:
    try:
        return run()
    except TargetExists:
        # Left by another version: the cache is ours, and whoever still reads the old files keeps them.
        shutil.rmtree(out)
        return run()


def _members(config: Config, result: MergeResult, say: Say) -> tuple[ServedMember, ...]:
    for warning in result.warnings:
        say(f"warning: {warning}")
    kind = "adapters" if config.hosting == "adapters" else "checkpoints"
    say(f"{len(result.outputs)} {kind} {'merged into' if result.written else 'found in'} {result.out}")
    return tuple(
        ServedMember(
            name=member_name(config.name, output.alpha),
            alpha=output.alpha,
            sha256=output.sha256,
            effective_alpha=output.effective_alpha,
        )
        for output in result.outputs
    )
