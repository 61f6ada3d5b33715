"""Writes all outputs of a merge, shard by shard, into the temporary directory."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from alpharay.merge.checkpoints.checkpoint import INDEX
from alpharay.merge.checkpoints.companions import companion_bytes, companion_roots
from alpharay.merge.checkpoints.fingerprint import combine_sha256
from alpharay.merge.checkpoints.inputs import Inputs
from alpharay.merge.checkpoints.layout import Layout, OutputShard
from alpharay.merge.combine import Sums
from alpharay.merge.compute.native import NativeKernel
from alpharay.merge.compute.notes import input_notes
from alpharay.merge.compute.plan import Plan
from alpharay.merge.compute.stream import cut, run_pieces
from alpharay.merge.effective import add, by_group, off, warning
from alpharay.merge.write.journal import FinishedShard, Journal
from alpharay.merge.write.manifest import FileRecord, Manifest, OutputRecord, input_record
from alpharay.merge.write.target import sync, write_file

# Called with how many more weights of each output are written.
Progress = Callable[[int], None]


def write_outputs(
    plan: Plan,
    layout: Layout,
    companions: Sequence[FileRecord],
    partial: Path,
    journal: Journal,
    finished: Sequence[FinishedShard],
    threads: int,
    progress: Progress,
    native: NativeKernel | None = None,
) -> Manifest:
    """Writes what is not in `finished` yet, recording every shard in the journal. Returns the manifest."""
    directories = [partial / output.name for output in plan.outputs]
    for directory in directories:
        _write_companions(plan, layout, companions, directory)
    shards = list(finished)
    known = shards[-1].inputs if shards else {}
    with Inputs([source.checkpoint for source in plan.sources], known) as inputs:
        for shard in layout.shards[: len(finished)]:
            progress(sum(tensor.size for tensor in shard.tensors))
        for shard in layout.shards[len(finished) :]:
            shards.append(_write_shard(plan, inputs, shard, directories, threads, progress, native))
            journal.add(shards[-1])
        inputs_read = tuple(
            input_record(source, [inputs.sha256(shard) for shard in source.checkpoint.shards])
            for source in plan.sources
        )
    sums = [
        {name: part for shard in shards for name, part in shard.sums[k].items()}
        for k in range(len(plan.outputs))
    ]
    outputs = tuple(
        _output_record(
            plan,
            k,
            [part.record(k, shard) for part, shard in zip(shards, layout.shards, strict=True)],
            sums[k],
        )
        for k in range(len(plan.outputs))
    )
    return Manifest(
        identity=plan.identity(),
        inputs=inputs_read,
        companions=tuple(companions),
        outputs=outputs,
        warnings=find_warnings(plan, [output.effective_alpha for output in outputs], sums[0]),
    )


def _write_companions(plan: Plan, layout: Layout, companions: Sequence[FileRecord], directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    roots = companion_roots(plan.companion_paths)
    contents = {
        file.name: companion_bytes(roots[Path(file.name)], Path(file.name), plan.settings.dtype)
        for file in companions
    }
    if layout.index:
        contents[INDEX] = layout.index
    for name, content in contents.items():
        write_file(directory / name, content)


def _write_shard(
    plan: Plan,
    inputs: Inputs,
    shard: OutputShard,
    directories: Sequence[Path],
    threads: int,
    progress: Progress,
    native: NativeKernel | None,
) -> FinishedShard:
    hashes = [hashlib.sha256(shard.prefix) for _ in directories]
    sums: list[dict[str, Sums]] = [{} for _ in directories]
    # parts[block][output] of the tensor at hand; a large model has too many blocks to keep them all.
    parts: list[list[Sums]] = []
    with ExitStack() as stack:
        files = [stack.enter_context((directory / shard.name).open("wb")) for directory in directories]
        for file in files:
            file.write(shard.prefix)
        # Hashing and writing let the interpreter's lock go; the files of a piece are independent of each other.
        pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="merge-write"))
        for done in run_pieces(plan, inputs, cut(plan, shard.tensors), threads, native):
            piece = done.piece
            # By file: a checkpoint may stand for several sources. Without bytes: one that a delta leads to.
            read = {
                tensor.file: (tensor, data)
                for tensor, data in zip(piece.tensors, done.read, strict=True)
                if tensor.nbytes
            }
            under_way = [
                pool.submit(inputs.feed, tensor, piece.begin * len(data) // (piece.end - piece.begin), data)
                for tensor, data in read.values()
            ]
            under_way += [
                pool.submit(_append, file, digest, data)
                for file, digest, data in zip(files, hashes, done.written, strict=True)
            ]
            wait(under_way)
            for task in under_way:
                task.result()
            parts += done.sums
            anchor = piece.tensors[0]
            if piece.end == anchor.size:
                for k, tensors in enumerate(sums):
                    if parts:
                        tensors[anchor.name] = add(part[k] for part in parts)
                parts = []
            progress(piece.end - piece.begin)
        for file in files:
            file.flush()
            sync(Path(file.name))
    return FinishedShard(
        name=shard.name,
        sha256=tuple(digest.hexdigest() for digest in hashes),
        sums=tuple(sums),
        inputs=inputs.finished(),
    )


def _append(file: BinaryIO, digest: Any, data: memoryview) -> None:
    file.write(data)
    digest.update(data)


def _output_record(plan: Plan, k: int, files: Sequence[FileRecord], sums: dict[str, Sums]) -> OutputRecord:
    output = plan.outputs[k]
    whole = plan.realised(output, add(sums.values()))
    return OutputRecord(
        name=output.name,
        alpha=output.alpha,
        sha256=combine_sha256((file.name, file.sha256) for file in files),
        effective_alpha=whole.effective_alpha,
        rounding_error=whole.rounding_error,
        effective_weights=plan.effective_weights(whole),
        groups={group: plan.realised(output, part).effective_alpha for group, part in by_group(sums).items()},
        files=tuple(files),
    )


def find_warnings(plan: Plan, effective: Sequence[float], sums: dict[str, Sums]) -> tuple[str, ...]:
    """What the user should know, given each output's effective alpha and the sums of the first one."""
    if plan.along_delta and len(plan.sources) > 1 and add(sums.values()).unmoved:
        equal = (
            "the endpoints have equal weights, so every alpha is the same checkpoint; is HIGH the right one?"
        )
        return (equal, *input_notes(plan))
    pairs = [(output.alpha, value) for output, value in zip(plan.outputs, effective, strict=True)]
    wrong = [pair for pair in pairs if off(*pair)]
    measured = "a point's whole move from its first checkpoint" if plan.method == "span" else "alpha"
    return (*([warning(plan.dtype_name, wrong, measured)] if wrong else []), *input_notes(plan))
