"""Merging: from two endpoints to one checkpoint per alpha, all or nothing."""

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from alpharay.merge.checkpoint import INDEX
from alpharay.merge.combine import Sums
from alpharay.merge.companions import companion_bytes
from alpharay.merge.effective import add, by_group, off, realised, warning
from alpharay.merge.fingerprint import combine_sha256
from alpharay.merge.layout import Layout, OutputShard, plan_layout
from alpharay.merge.manifest import (
    FileRecord,
    Manifest,
    OutputRecord,
    companion_records,
    find_done,
    input_record,
)
from alpharay.merge.methods import plan_ewa
from alpharay.merge.plan import Plan, read_settings
from alpharay.merge.stream import Inputs, run_pieces
from alpharay.merge.target import MANIFEST, check_space, check_target, partial_directory, publish, sync

# One thread reads and combines ahead while the calling one writes and hashes; see bench/merge.py.
THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedCheckpoint:
    """One checkpoint written by a merge.

    alpha: as its method counts it; 1, the whole of the intended move, where a method has none. sha256: identifies its weights, as `checkpoint_sha256(path)` does. effective_alpha: what alpha became
    by rounding to the output's dtype. rounding_error: rms rounding error over rms delta (unitless).
    groups: the effective alpha of every layer group.
    """

    name: str
    alpha: float
    path: Path
    sha256: str
    effective_alpha: float
    rounding_error: float
    groups: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """What `out` holds. `written` is False where the same merge was there already.

    dtype: what was written, in words. warnings: one line each, for the user.
    """

    out: Path
    outputs: tuple[MergedCheckpoint, ...]
    dtype: str
    warnings: tuple[str, ...]
    written: bool


def merge(
    *,
    low: Path,
    high: Path,
    alphas: Sequence[float],
    out: Path,
    dtype: str | None = None,
    rounding: str = "nearest",
    seed: int = 0,
) -> MergeResult:
    """Writes theta(alpha) = low + alpha * (high - low) to `out`/alpha=<alpha>/ for every alpha.

    low, high: checkpoint directories with equal tensors (names, shapes). alpha is unitless; 0 is low, 1 is
    high, outside [0, 1] extrapolates. dtype: bf16, fp16 or fp32; None keeps every tensor's own. Sums are
    float64 and rounded once: to "nearest" (ties to even) or "stochastic" (unbiased, from `seed`, the same
    whatever the threads or shards). Where alpha is 0 or 1 and the dtype stays, bytes are copied.

    `out` appears whole or not at all, with manifest.json. If it holds this very merge already, nothing is
    written. Raises MergeError (errors.py); nothing is ever skipped.
    Source: extrapolative weight averaging, arXiv:2605.28751.
    """
    settings = read_settings(dtype=dtype, rounding=rounding, seed=seed)
    plan = plan_ewa(low=Path(low), high=Path(high), alphas=alphas, settings=settings)
    return run_plan(plan, Path(out))


def run_plan(plan: Plan, out: Path, *, threads: int = THREADS) -> MergeResult:
    """Runs a merge whose inputs have been checked. The outputs do not depend on `threads`."""
    check_target(out, [source.checkpoint.path for source in plan.sources])
    manifest = find_done(plan, out)
    written = manifest is None
    if manifest is None:
        layout = plan_layout(plan.sources[0].checkpoint, plan.settings.dtype, plan.settings.shard_bytes)
        companions = companion_records(plan)
        per_output = layout.nbytes + len(layout.index or b"") + sum(file.bytes for file in companions)
        with partial_directory(out) as partial:
            _empty(partial)
            check_space(out, per_output * len(plan.outputs))
            manifest = _write(plan, layout, companions, partial, threads)
            (partial / MANIFEST).write_text(manifest.to_json())
            sync(partial / MANIFEST)
            publish(partial, out)
    return _result(plan, manifest, out, written=written)


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _write(
    plan: Plan, layout: Layout, companions: Sequence[FileRecord], partial: Path, threads: int
) -> Manifest:
    directories = [partial / output.name for output in plan.outputs]
    source = plan.companion_path
    for directory in directories:
        directory.mkdir()
        for file in companions:
            target = directory / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(companion_bytes(source, Path(file.name), plan.settings.dtype))
            sync(target)
        if layout.index:
            (directory / INDEX).write_bytes(layout.index)
            sync(directory / INDEX)
    files: list[list[FileRecord]] = [[] for _ in plan.outputs]
    # sums[output][tensor]
    sums: list[dict[str, Sums]] = [{} for _ in plan.outputs]
    with Inputs(plan) as inputs:
        for shard in layout.shards:
            for k, record in enumerate(_write_shard(plan, inputs, shard, directories, sums, threads)):
                files[k].append(record)
        inputs_read = tuple(
            input_record(part, [inputs.sha256(shard) for shard in part.checkpoint.shards])
            for part in plan.sources
        )
    outputs = tuple(_output_record(plan, k, files[k], sums[k]) for k in range(len(plan.outputs)))
    return Manifest(
        identity=plan.identity(),
        inputs=inputs_read,
        companions=tuple(companions),
        outputs=outputs,
        warnings=_warnings(plan, outputs, sums[0]),
    )


def _write_shard(
    plan: Plan,
    inputs: Inputs,
    shard: OutputShard,
    directories: Sequence[Path],
    sums: Sequence[dict[str, Sums]],
    threads: int,
) -> list[FileRecord]:
    hashes = [hashlib.sha256(shard.prefix) for _ in directories]
    blocks: dict[str, list[list[Sums]]] = {}
    with ExitStack() as stack:
        files = [stack.enter_context((directory / shard.name).open("xb")) for directory in directories]
        for file in files:
            file.write(shard.prefix)
        for done in run_pieces(plan, inputs, shard.tensors, threads):
            for tensor, data in zip(done.piece.tensors, done.read, strict=True):
                inputs.feed(tensor, done.piece.begin * len(data) // (done.piece.end - done.piece.begin), data)
            for file, digest, data in zip(files, hashes, done.written, strict=True):
                file.write(data)
                digest.update(data)
            blocks.setdefault(done.piece.tensors[0].name, []).extend(done.sums)
        for file in files:
            file.flush()
            sync(Path(file.name))
    for name, parts in blocks.items():
        if parts:
            for k in range(len(directories)):
                sums[k][name] = add(part[k] for part in parts)
    return [FileRecord(name=shard.name, bytes=shard.nbytes, sha256=digest.hexdigest()) for digest in hashes]


def _output_record(plan: Plan, k: int, files: Sequence[FileRecord], sums: dict[str, Sums]) -> OutputRecord:
    output = plan.outputs[k]
    whole = realised(add(sums.values()), output.alpha)
    return OutputRecord(
        name=output.name,
        alpha=output.alpha,
        sha256=combine_sha256((file.name, file.sha256) for file in files),
        effective_alpha=whole.effective_alpha,
        rounding_error=whole.rounding_error,
        groups={
            group: realised(part, output.alpha).effective_alpha for group, part in by_group(sums).items()
        },
        files=tuple(files),
    )


def _warnings(plan: Plan, outputs: Sequence[OutputRecord], sums: dict[str, Sums]) -> tuple[str, ...]:
    if plan.along_delta and not add(sums.values()).direction_direction:
        return (
            "the endpoints have equal weights, so every alpha is the same checkpoint; is HIGH the right one?",
        )
    wrong = [
        (output.alpha, output.effective_alpha)
        for output in outputs
        if off(output.alpha, output.effective_alpha)
    ]
    return (warning(plan.dtype_name, wrong),) if wrong else ()


def _result(plan: Plan, manifest: Manifest, out: Path, *, written: bool) -> MergeResult:
    return MergeResult(
        out=out,
        outputs=tuple(
            MergedCheckpoint(
                name=record.name,
                alpha=record.alpha,
                path=out / record.name,
                sha256=record.sha256,
                effective_alpha=record.effective_alpha,
                rounding_error=record.rounding_error,
                groups=record.groups,
            )
            for record in manifest.outputs
        ),
        dtype=plan.dtype_name,
        warnings=manifest.warnings,
        written=written,
    )
