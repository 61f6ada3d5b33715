"""What the members' engines load: merged once and kept between starts, or computed when an engine starts or moves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from alpharay.judge.sandbox.cache_folder import cache_folder
from alpharay.merge import MergeResult, checkpoint_sha256, merge_adapters
from alpharay.merge.adapters.adapter import open_adapter
from alpharay.merge.adapters.apply import apply_adapter
from alpharay.merge.adapters.merge import merge_adapter_span
from alpharay.merge.checkpoints.companions import has_tokenizer
from alpharay.merge.checkpoints.prompting import prompting_differences
from alpharay.merge.errors import TargetExists
from alpharay.merge.write.preview import preview
from alpharay.merge.write.run import run_plan
from alpharay.serve.cluster.span import (
    Group,
    adapters_of,
    check_adapters,
    check_architecture,
    grouped,
    plan_of,
)
from alpharay.serve.config import Config
from alpharay.serve.environment import engine_build
from alpharay.serve.errors import StartFailed
from alpharay.serve.learn.store import ready_folder, ready_store
from alpharay.serve.span import AdapterCheckpoint, Point
from alpharay.serve.state.engine_spec import CheckpointWeights, EngineSpec, LoraWeights, MergeOnLoadWeights
from alpharay.serve.state.members import ServedMember

Say = Callable[[str], None]
# vLLM's own list (0.32).
_OVERFLOW_FLOAT16 = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})

Prepared = tuple[tuple[ServedMember, ...], tuple[EngineSpec, ...]]


def with_store(config: Config, say: Say) -> Config:
    """The configuration with its store (else that of ALPHARAY_STORE) ready to use, the folder of the Batch API's files beside it, and that of rollouts.

    Raises ConfigError, StartFailed: one of them cannot be used.
    """
    if config.server.rollouts is not None:
        from alpharay.serve.learn.rollouts.live import ready_rollouts

        ready_rollouts(config.server.rollouts, say)
    # An address with a password belongs in a secret, not in a configuration that lies in a ConfigMap.
    store = ready_store(
        config.store or os.environ.get("ALPHARAY_STORE") or None, Path.cwd(), cache_folder(), say
    )
    batches = config.server.batches
    folder = ready_folder(batches.folder, store, cache_folder())
    server = config.server.model_copy(update={"batches": batches.model_copy(update={"folder": folder})})
    return config.model_copy(update={"store": store, "server": server})


def check_checkpoints(config: Config) -> None:
    """Raises MergeError: what merging the checkpoints would be refused for, without reading the weights."""
    if config.hosting == "adapters":
        check_adapters(config)
        return
    check_architecture(config)
    made = {n for n, value in config.named_checkpoints.items() if isinstance(value, AdapterCheckpoint)}
    full = {n: value for n, value in config.named_checkpoints.items() if isinstance(value, Path)}
    for group in grouped(config):
        if not made.intersection(group.checkpoints):
            plan_of(config, group, full)


def prepare(config: Config, say: Say) -> Prepared:
    """The members and their engines' engine specs, with all that the engines will load written or checked.

    The merge rounds once, to the dtype that the engine computes in, so that its effective weights are the
    truth about what is served. On a cluster of several nodes the cache folder must be shared.

    Raises MergeError: the checkpoints cannot be merged; the message names the file or tensor.
    Raises StartFailed: there is no place to keep them.
    """
    check_checkpoints(config)
    for line in float16_advice(config):
        say(f"warning: {line}")
    if config.hosting == "replicas" and merges_on_load(config):
        return _on_load(config, say)
    return {"replicas": _replicas, "adapters": _adapters, "shift": _shift}[config.hosting](config, say)


def merges_on_load(config: Config) -> bool:
    """Whether engines of hosting `replicas` compute their members while they load, so that nothing is written.

    On GPUs that saves a compilation for each member but the first, since vLLM knows compiled code by the model's folder,
    and a checkpoint's room on disk for each. On the CPU nothing is compiled, and reading what was merged once is faster.
    """
    if config.engine.merge_on_load is not None:
        return config.engine.merge_on_load
    return engine_build() == "vllm"


def float16_advice(config: Config) -> list[str]:
    """A line where the model's activations overflow float16, in which vLLM refuses to compute it."""
    if config.engine.dtype != "float16":
        return []
    checkpoints = [value for value in config.named_checkpoints.values() if isinstance(value, Path)]
    kinds = sorted({_model_type(folder) for folder in checkpoints} & _OVERFLOW_FLOAT16)
    return [
        f"{kind} is numerically unstable in float16 and vLLM refuses it; set engine.dtype to bfloat16, or to float32, "
        "which keeps steps that bfloat16 rounds away"
        for kind in kinds
    ]


def _model_type(folder: Path) -> str:
    """As config.json names it; empty where there is none; the error is raised where it is needed."""
    try:
        read = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(read.get("model_type", "")) if isinstance(read, dict) else ""


def _replicas(config: Config, say: Say) -> Prepared:
    """Every member's checkpoint written, in the engine's dtype."""
    paths, hashes = _full_checkpoints(config, say)
    members: dict[str, ServedMember] = {}
    specs: dict[str, EngineSpec] = {}
    for group in grouped(config):
        plan = plan_of(config, group, paths)
        sources = [f"{name}={hashes[name]}" for name in group.checkpoints]
        out = _folder_of("members", *sources, plan.dtype_name, *group.shown)
        result = _afresh(out, partial(run_plan, plan, out))
        _say_result(result, "checkpoints", say)
        for point, name in group.outputs.items():
            output = next(output for output in result.outputs if output.name == name)
            member = _member(config, group.point(point), output.sha256, output.effective_weights)
            members[point] = member
            weights = CheckpointWeights(checkpoint=output.path)
            specs[point] = EngineSpec(members=(member.name,), weights=weights)
    order = [point.name for point in config.points]
    return tuple(members[name] for name in order), tuple(specs[name] for name in order)


def _adapters(config: Config, say: Say) -> Prepared:
    """Every member as one exact adapter of the base."""
    base_name, base, adapters = adapters_of(config)
    if not (base / "config.json").is_file():
        where = "adapters.base" if config.adapters is not None else f"checkpoints.{base_name}"
        raise StartFailed(f"{where}: {base} is not a checkpoint, it has no config.json")
    for line in (line for path in adapters.values() for line in prompting_differences(base, path, base)):
        say(f"warning: {line}")
    hashes = {name: checkpoint_sha256(path) for name, path in adapters.items()}
    members: dict[str, ServedMember] = {}
    paths: dict[str, Path] = {}
    for group in grouped(config):
        parts = {name: adapters[name] for name in group.checkpoints if name in adapters} or adapters
        out = _folder_of("adapters", base_name, *(f"{name}={hashes[name]}" for name in parts), *group.shown)

        def written(group: Group = group, parts: Mapping[str, Path] = parts, out: Path = out) -> MergeResult:
            if group.line and parts.keys() == {"low", "high"}:
                return merge_adapters(
                    low=parts["low"], high=parts["high"], alphas=group.alphas, out=out, base=str(base)
                )
            return merge_adapter_span(
                adapters=parts, base_name=base_name, outputs=group.weights, out=out, base=str(base)
            )

        result = _afresh(out, written)
        _say_result(result, "adapters", say)
        for point, name in group.outputs.items():
            output = next(output for output in result.outputs if output.name == name)
            weights = output.effective_weights
            if not group.line and base_name in group.checkpoints:
                weights = {base_name: 1.0 - sum(weights.values())} | weights
            members[point] = _member(config, group.point(point), output.sha256, weights)
            paths[point] = output.path
    order = [point.name for point in config.points]
    served = tuple(members[name] for name in order)
    lora = LoraWeights(
        base=base,
        adapters={members[name].name: paths[name] for name in order},
        max_rank=max(_rank(path) for path in paths.values()),
    )
    return served, (EngineSpec(members=tuple(member.name for member in served), weights=lora),)


def _shift(config: Config, say: Say) -> Prepared:
    """One engine that computes each member from the checkpoints, when it moves there."""
    served, weights = _computed(config, say)
    return served, (EngineSpec(members=tuple(member.name for member in served), weights=weights),)


def _on_load(config: Config, say: Say) -> Prepared:
    """An engine a member, which computes it from the checkpoints while it starts. All load from one model folder."""
    served, weights = _computed(config, say)
    return served, tuple(
        EngineSpec(
            members=(member.name,),
            weights=replace(weights, points={member.name: weights.points[member.name]}),
        )
        for member in served
    )


def _computed(config: Config, say: Say) -> tuple[tuple[ServedMember, ...], MergeOnLoadWeights]:
    """The members and what engines compute them from; nothing is written.

    A member's hash is that of what determines its weights, the checkpoints' hashes, its weights and dtype: hashing
    the weights themselves would take a merge. Its effective weights are from a sample of them.
    """
    paths, hashes = _full_checkpoints(config, say)
    members: dict[str, ServedMember] = {}
    dtype = ""
    for group in grouped(config):
        plan = plan_of(config, group, paths)
        dtype = plan.dtype_name
        seen = preview(plan, out=None)
        for warning in seen.warnings:
            say(f"warning: {warning}")
        realised = {name: plan.effective_weights(weights) for name, weights, _ in seen.outputs}
        for point in group.points:
            sha256 = _computed_sha256(point, group, hashes, dtype)
            members[point.name] = _member(config, point, sha256, realised[group.outputs[point.name]])
    served = tuple(members[point.name] for point in config.points)
    weights = MergeOnLoadWeights(
        checkpoints=paths,
        points={member.name: member.weights for member in served},
        dtype=dtype,
        # One input may have been saved without.
        tokenizer=next((path for path in paths.values() if has_tokenizer(path)), None),
        allow_config=config.differing_config,
    )
    return served, weights


def _computed_sha256(point: Point, group: Group, hashes: Mapping[str, str], dtype: str) -> str:
    own = (
        [repr(point.alpha)]
        if group.line
        else [f"{n}={point.weights.get(n, 0.0)!r}" for n in group.checkpoints]
    )
    parts = [*(hashes[name] for name in group.checkpoints), dtype, *own]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _full_checkpoints(config: Config, say: Say) -> tuple[dict[str, Path], dict[str, str]]:
    """Every checkpoint that a member is made of, and its hash: those that adapters make are written first."""
    sha256 = cache(checkpoint_sha256)  # reads every weight file: once, also for the base of several adapters
    named = config.named_checkpoints
    used = {name for group in grouped(config) for name in group.checkpoints}
    paths: dict[str, Path] = {}
    for name, value in named.items():
        if name not in used:
            continue
        if isinstance(value, Path):
            paths[name] = value
            continue
        base = named[value.base]
        assert isinstance(base, Path)
        out = _folder_of("adapted", sha256(base), sha256(value.adapter))
        if not out.is_dir():
            say(f"writing the checkpoint {name}, what {value.adapter} makes of {value.base}, to {out}")
        paths[name] = apply_adapter(base=base, adapter=value.adapter, out=out)
    return paths, {name: sha256(path) for name, path in paths.items()}


def _rank(adapter: Path) -> int:
    return max(int(factors.a.shape[0]) for factors in open_adapter(adapter).modules.values())


def _folder_of(kind: str, *identity: str) -> Path:
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
        # Left by another version: alpharay owns the cache, and processes that still read the old files keep them open.
        shutil.rmtree(out)
        return run()


def _say_result(result: MergeResult, kind: str, say: Say) -> None:
    for warning in result.warnings:
        say(f"warning: {warning}")
    say(f"{len(result.outputs)} {kind} {'merged into' if result.written else 'found in'} {result.out}")


def _member(config: Config, point: Point, sha256: str, effective: Mapping[str, float]) -> ServedMember:
    on_line = point.alpha is not None and "high" in effective
    return ServedMember(
        name=f"{config.name}@{point.name}",
        alpha=point.alpha,
        sha256=sha256,
        effective_alpha=effective["high"] if on_line else None,
        weights=point.weights,
        effective_weights=effective,
    )
