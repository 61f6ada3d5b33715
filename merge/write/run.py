"""Merging: from two endpoints to one checkpoint per alpha, all or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alpharay.merge.checkpoints.layout import plan_layout
from alpharay.merge.compute.methods import plan_ewa
from alpharay.merge.compute.native import NativeKernel, native_kernel
from alpharay.merge.compute.plan import Plan, read_settings
from alpharay.merge.write.journal import Journal, journal_key
from alpharay.merge.write.manifest import Manifest, companion_records, find_done
from alpharay.merge.write.target import MANIFEST, check_space, check_target, partial_directory, publish, sync
from alpharay.merge.write.write import Progress, write_outputs

# So many read and combine ahead, and so many hash and write; see bench/merge.py.
THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedCheckpoint:
    """One checkpoint written by a merge.

    alpha: as its method counts it; 1, the whole of the intended move, where a method has none. sha256:
    identifies its weights, as `checkpoint_sha256(path)` does. effective_alpha: what alpha became by
    rounding to the output's dtype. rounding_error: rms rounding error over rms delta (unitless). groups:
    the effective alpha of every layer group. effective_weights: what became of the weight of each input, by its
    role; empty where that was not measured.
    """

    name: str
    alpha: float
    path: Path
    sha256: str
    effective_alpha: float
    rounding_error: float
    groups: dict[str, float]
    effective_weights: dict[str, float] = field(default_factory=dict)


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
    low: str | Path,
    high: str | Path,
    alphas: Sequence[float],
    out: str | Path,
    dtype: str | None = None,
    rounding: str = "nearest",
    seed: int = 0,
    allow_config: Sequence[str] = (),
) -> MergeResult:
    """Writes theta(alpha) = low + alpha * (high - low) to `out`/alpha=<alpha>/ for every alpha.

    low, high: checkpoint directories with equal tensors (names, shapes). alpha is unitless; 0 is low, 1 is
    high, outside [0, 1] extrapolates. dtype: bf16, fp16 or fp32; None keeps every tensor's own. Sums are
    float64 and rounded once: to "nearest" (ties to even) or "stochastic" (unbiased, from `seed`, the same
    whatever the threads or shards). Where alpha is 0 or 1 and the dtype stays, bytes are copied. allow_config:
    fields of config.json that may differ.

    `out` appears whole or not at all, with manifest.json. If it holds this very merge already, nothing is
    written. Raises MergeError (errors.py); nothing is ever skipped.
    Source: extrapolative weight averaging, arXiv:2605.28751.
    """
    settings = read_settings(dtype=dtype, rounding=rounding, seed=seed, allow_config=allow_config)
    plan = plan_ewa(low=Path(low), high=Path(high), alphas=alphas, settings=settings)
    return run_plan(plan, Path(out))


def run_plan(
    plan: Plan, out: Path, *, threads: int = THREADS, progress: Progress = lambda _: None
) -> MergeResult:
    """Runs a merge whose inputs have been checked. The outputs do not depend on `threads`.

    progress: called with the number of weights of each output that have just been written.
    """
    check_target(out, [source.checkpoint.path for source in plan.sources])
    manifest = find_done(plan, out)
    written = manifest is None
    if manifest is None:
        layout = plan_layout(plan.sources[0].checkpoint, plan.settings.dtype, plan.settings.shard_bytes)
        companions = companion_records(plan)
        per_output = layout.nbytes + len(layout.index or b"") + sum(file.bytes for file in companions)
        with partial_directory(out) as partial:
            native = _native(plan)
            key = journal_key(plan, layout, companions, native=native is not None)
            journal = Journal(partial, key)
            finished = journal.resume()
            finished_bytes = sum(shard.nbytes for shard in layout.shards[: len(finished)])
            check_space(out, (per_output - finished_bytes) * len(plan.outputs))
            manifest = write_outputs(
                plan, layout, companions, partial, journal, finished, threads, progress, native
            )
            (partial / MANIFEST).write_text(manifest.to_json())
            sync(partial / MANIFEST)
            journal.remove()
            publish(partial, out)
    return _result(plan, manifest, out, written=written)


def _native(plan: Plan) -> NativeKernel | None:
    """The compiled kernel, where it knows this rounding and pays for this many weights."""
    if plan.settings.rounding != "nearest":
        return None
    tensors = plan.sources[0].checkpoint.tensors.values()
    return native_kernel(sum(tensor.size for tensor in tensors) * len(plan.outputs))


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
                effective_weights=record.effective_weights,
            )
            for record in manifest.outputs
        ),
        dtype=plan.dtype_name,
        warnings=manifest.warnings,
        written=written,
    )
