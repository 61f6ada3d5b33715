"""Points of the affine span of LoRA adapters of one base, each as one exact adapter.

Adapter i adds s_i B_i A_i to the base. So the point with weights w adds [w_1 s_1 B_1, w_2 s_2 B_2, ...] @ [A_1; A_2; ...]:
the ranks are concatenated and the factors go into B; what weight is left to 1 is the base's own. A module that some
adapters lack keeps the others' factors, filled up with zeros to the common rank. theta(alpha) between two adapters is
the point with the weights 1 - alpha and alpha.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from alpharay.merge.adapters.adapter import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    Adapter,
    Factors,
    check_same_base,
    open_adapter,
)
from alpharay.merge.adapters.write import StoredFactors, adapter_config, store
from alpharay.merge.checkpoints.checkpoint import same_file
from alpharay.merge.checkpoints.companions import companion_roots
from alpharay.merge.checkpoints.fingerprint import combine_sha256, file_sha256
from alpharay.merge.checkpoints.prompting import prompting_differences
from alpharay.merge.combine import Sums
from alpharay.merge.compute.plan import Settings, alpha_name, check_alphas, read_settings
from alpharay.merge.compute.span import check_weights, line_weights
from alpharay.merge.dtypes import FP32
from alpharay.merge.effective import Realised, add, by_group, off, realised, warning
from alpharay.merge.errors import TargetExists, UsageError
from alpharay.merge.rounding import Float64
from alpharay.merge.write.journal import clear
from alpharay.merge.write.manifest import FileRecord, InputRecord, Manifest, OutputRecord, read_manifest
from alpharay.merge.write.run import MergedCheckpoint, MergeResult
from alpharay.merge.write.target import MANIFEST, check_target, partial_directory, publish, sync, write_file


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """One adapter to write. weights: of every adapter, in order. alpha: as in OutputRecord.

    on_line: its effective alpha is measured along the second adapter minus the first; else its effective weights are
    measured along each adapter from the base.
    """

    name: str
    alpha: float
    weights: tuple[float, ...]
    on_line: bool = False

    def realised(self, sums: Sums) -> Realised:
        return realised(sums, self.alpha, (self.alpha,) if self.on_line else self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Adapters by their roles, the points to write, and how."""

    adapters: Mapping[str, Adapter]
    points: tuple[_Point, ...]
    settings: Settings
    base: str | None
    identity: dict[str, Any]

    @property
    def paths(self) -> list[Path]:
        return [adapter.path for adapter in self.adapters.values()]


def merge_adapters(
    *,
    low: Path,
    high: Path,
    alphas: Sequence[float],
    out: Path,
    dtype: str | None = None,
    rounding: str = "nearest",
    seed: int = 0,
    base: str | None = None,
) -> MergeResult:
    """Writes the adapter of theta(alpha) = low + alpha * (high - low) to `out`/alpha=<alpha>/ for every alpha.

    low, high: directories of PEFT LoRA adapters of one base; ranks, scalings (also rank-stabilised and per
    module) and adapted modules may differ. The rank is the sum of both, or, at alpha 0 and 1, that of the
    one adapter, whose factors stay bit for bit. dtype: None writes float32, as the adapter is small and
    scaling B in bfloat16 would round it. base: recorded as the base model, whatever the adapters call it. Raises
    MergeError.
    """
    values = check_alphas(alphas)
    settings = read_settings(dtype=dtype, rounding=rounding, seed=seed)
    points = tuple(
        _Point(name=alpha_name(alpha), alpha=alpha, weights=tuple(line_weights(alpha).values()), on_line=True)
        for alpha in values
    )
    identity = _identity("ewa of adapters", settings, base) | {"alphas": list(values)}
    return _run({"low": Path(low), "high": Path(high)}, points, settings, base, identity, Path(out))


def merge_adapter_span(
    *,
    adapters: Mapping[str, Path],
    base_name: str,
    outputs: Mapping[str, Mapping[str, float]],
    out: Path,
    base: str,
) -> MergeResult:
    """Writes one adapter per point of the span of a base and adapters of it to `out`/<name>/, in float32.

    outputs: by name the weights of the checkpoints that the adapters make of the base, and of the base itself under
    `base_name`; they sum to 1. base: recorded as the base model. Raises MergeError.
    """
    for weights in outputs.values():
        check_weights(weights, (base_name, *adapters))
    points = tuple(
        _Point(name=name, alpha=1.0, weights=tuple(weights.get(role, 0.0) for role in adapters))
        for name, weights in outputs.items()
    )
    settings = read_settings()
    identity = _identity("span of adapters", settings, base) | {
        "weights": {point.name: list(point.weights) for point in points}
    }
    return _run(adapters, points, settings, base, identity, out)


def _identity(method: str, settings: Settings, base: str | None) -> dict[str, Any]:
    return {
        "method": method,
        "dtype": settings.dtype.name if settings.dtype else None,
        "rounding": settings.rounding,
        "seed": settings.seed if settings.rounding == "stochastic" else None,
        "base": base,
    }


def open_adapters(paths: Mapping[str, Path], base: str | None) -> dict[str, Adapter]:
    """The adapters by their roles. Raises MergeError unless all adapt the same weights of one base."""
    for (role, path), (other, twin) in itertools.combinations(paths.items(), 2):
        if same_file(path, twin):
            ends = (role, other) == ("low", "high")
            names = "LOW and HIGH" if ends else f"the adapters {role} and {other}"
            way_out = "give the two endpoints of the frontier" if ends else "name it once"
            raise UsageError(f"{names} are both {path}; {way_out}")
    adapters = {role: open_adapter(path) for role, path in paths.items()}
    first, *others = adapters.values()
    for other_adapter in others:
        check_same_base(first, other_adapter, base)
    return adapters


def _run(
    paths: Mapping[str, Path],
    points: tuple[_Point, ...],
    settings: Settings,
    base: str | None,
    identity: dict[str, Any],
    out: Path,
) -> MergeResult:
    job = _Job(
        adapters=open_adapters(paths, base), points=points, settings=settings, base=base, identity=identity
    )
    inputs = tuple(_input(role, adapter) for role, adapter in job.adapters.items())
    check_target(out, job.paths)
    manifest = _find_done(out, identity, inputs)
    written = manifest is None
    if manifest is None:
        with partial_directory(out) as partial:
            clear(partial)
            outputs = tuple(_write(job, point, partial) for point in points)
            pairs = [(output.alpha, output.effective_alpha) for output in outputs]
            wrong = [pair for pair in pairs if off(*pair)]
            first, *others = job.paths
            manifest = Manifest(
                identity=identity,
                inputs=inputs,
                companions=_companions(*job.paths),
                outputs=outputs,
                warnings=(
                    *([warning((settings.dtype or FP32).name, wrong)] if wrong else []),
                    *(line for other in others for line in prompting_differences(first, other, first)),
                ),
            )
            (partial / MANIFEST).write_text(manifest.to_json())
            sync(partial / MANIFEST)
            publish(partial, out)
    return MergeResult(
        out=out,
        outputs=tuple(
            MergedCheckpoint(
                name=record.name, alpha=record.alpha, path=out / record.name, sha256=record.sha256,
                effective_alpha=record.effective_alpha, rounding_error=record.rounding_error, groups=record.groups,
                effective_weights=record.effective_weights,
            )
            for record in manifest.outputs
        ),
        dtype=(settings.dtype or FP32).name,
        warnings=manifest.warnings,
        written=written,
    )  # fmt: skip


def _concatenate(parts: Sequence[tuple[Factors, float]], rank: int) -> Factors:
    """The sum of weighted updates as one pair of factors with scaling 1 and `rank` rows in A."""
    a = np.concatenate([factors.a for factors, _ in parts], axis=0)
    b = np.concatenate([weight * factors.scaling * factors.b for factors, weight in parts], axis=1)
    missing = rank - len(a)
    a = np.pad(a, [(0, missing)] + [(0, 0)] * (a.ndim - 1))
    b = np.pad(b, [(0, 0), (0, missing)] + [(0, 0)] * (b.ndim - 2))
    return replace(parts[0][0], a=a, b=b, scaling=1.0)


def _combine(taken: Sequence[tuple[Adapter, float]]) -> tuple[dict[str, Factors], int]:
    """All modules of a point, by name, and their rank. taken: the adapters that have a part in it, with their weights."""
    rank = sum(max(len(factors.a) for factors in adapter.modules.values()) for adapter, _ in taken)
    names = dict.fromkeys(name for adapter, _ in taken for name in adapter.modules)
    return {
        name: _concatenate(
            [(adapter.modules[name], weight) for adapter, weight in taken if name in adapter.modules], rank
        )
        for name in names
    }, rank


def _write(job: _Job, point: _Point, partial: Path) -> OutputRecord:
    directory = partial / point.name
    directory.mkdir()
    for file, root in _companion_roots(*job.paths).items():
        write_file(directory / file, (root / file).read_bytes())
    adapters = list(job.adapters.values())
    taken = [(adapter, weight) for adapter, weight in zip(adapters, point.weights, strict=True) if weight]
    if len(taken) == 1 and taken[0][1] == 1.0 and job.settings.dtype in (None, taken[0][0].dtype):
        # Exactly one adapter: its own factors, rank and scaling.
        (end, _), *_ = taken
        content: dict[str, Any] = end.config | ({"base_model_name_or_path": job.base} if job.base else {})
        weights = (end.path / ADAPTER_WEIGHTS).read_bytes()
        sums = {name: _sums(job, point, name, None, None) for name in end.modules}
    else:
        # The base itself is an adapter that adds nothing.
        modules, rank = _combine(taken or [(adapters[0], 0.0)])
        stored, weights = store(modules, job.settings)
        content = adapter_config(adapters[0].config, modules, rank=rank, scale=rank, base=job.base)
        sums = {name: _sums(job, point, name, modules[name], stored[name]) for name in modules}
    write_file(directory / ADAPTER_CONFIG, (json.dumps(content, indent=2) + "\n").encode())
    write_file(directory / ADAPTER_WEIGHTS, weights)
    whole = point.realised(add(sums.values()))
    files = tuple(_record(directory, name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS))
    return OutputRecord(
        name=point.name,
        alpha=point.alpha,
        sha256=combine_sha256((file.name, file.sha256) for file in files if file.name == ADAPTER_WEIGHTS),
        effective_alpha=whole.effective_alpha,
        rounding_error=whole.rounding_error,
        groups={group: point.realised(part).effective_alpha for group, part in by_group(sums).items()},
        files=files,
        effective_weights=(
            line_weights(whole.effective_alpha)
            if point.on_line
            else dict(zip(job.adapters, whole.coefficients, strict=True))
        ),
    )


def _sums(job: _Job, point: _Point, module: str, exact: Factors | None, stored: StoredFactors | None) -> Sums:
    """What rounding the factors did to the products, from Gram matrices: no product is ever formed.

    exact, stored: None where nothing was rounded.
    """
    error: _Products = []
    if exact is not None and stored is not None:
        error = [(exact.b, exact.a, -1.0), (stored.b, stored.a, 1.0)]
    updates: list[_Products] = [
        [(factors.b, factors.a, factors.scaling)]
        if (factors := adapter.modules.get(module)) is not None
        else []
        for adapter in job.adapters.values()
    ]
    if point.on_line:
        low, high = updates
        updates = [[*high, *((b, a, -factor) for b, a, factor in low)]]
    return Sums(
        error_along=tuple(_inner(error, update) for update in updates),
        gram=tuple(tuple(_inner(update, other) for other in updates) for update in updates),
        error_error=max(0.0, _inner(error, error)),
    )


# A sum of scaled products, each (B, A, factor).
_Products = list[tuple[Float64, Float64, float]]


def _inner(left: _Products, right: _Products) -> float:
    """Sum over elements of (sum of B A) times (sum of B' A')."""
    total = 0.0
    for b, a, factor in left:
        for other_b, other_a, other_factor in right:
            outs = b.reshape(len(b), -1).T @ other_b.reshape(len(other_b), -1)
            ins = a.reshape(len(a), -1) @ other_a.reshape(len(other_a), -1).T
            total += factor * other_factor * float((outs * ins).sum())
    return total


def _find_done(out: Path, identity: dict[str, Any], inputs: Sequence[InputRecord]) -> Manifest | None:
    if not (out / MANIFEST).exists():
        return None
    manifest = read_manifest(out)
    same = manifest.identity == json.loads(json.dumps(identity)) and manifest.inputs == tuple(inputs)
    whole = all(
        (out / output.name / file.name).is_file()
        and file_sha256(out / output.name / file.name) == file.sha256
        for output in manifest.outputs
        for file in output.files
    )
    if not (same and whole):
        raise TargetExists(f"{out} holds another merge or was changed since; remove it or give another --out")
    return manifest


def _input(role: str, adapter: Adapter) -> InputRecord:
    file = _record(adapter.path, ADAPTER_WEIGHTS)
    sha256 = combine_sha256([(file.name, file.sha256)])
    return InputRecord(
        role=role,
        path=str(adapter.path.resolve()),
        sha256=sha256,
        files=(file, _record(adapter.path, ADAPTER_CONFIG)),
    )


def _companion_roots(*paths: Path) -> dict[Path, Path]:
    roots = companion_roots(paths)
    return {file: root for file, root in roots.items() if file.name not in (ADAPTER_CONFIG, "README.md")}


def _companions(*paths: Path) -> tuple[FileRecord, ...]:
    return tuple(_record(root, str(file)) for file, root in _companion_roots(*paths).items())


def _record(directory: Path, name: str) -> FileRecord:
    return FileRecord(
        name=name, bytes=(directory / name).stat().st_size, sha256=file_sha256(directory / name)
    )
