"""theta(alpha) between two LoRA adapters of one base, as one exact adapter.

low and high add s_l B_l A_l and s_h B_h A_h to the base, so theta(alpha) adds
[(1 - alpha) s_l B_l, alpha s_h B_h] @ [A_l; A_h]: the ranks are concatenated and the factors go into B. A
module that only one side has keeps its own factors, filled up with zeros to the common rank.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
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
from alpharay.merge.dtypes import FP32
from alpharay.merge.effective import add, by_group, off, realised, warning
from alpharay.merge.errors import TargetExists, UsageError
from alpharay.merge.rounding import Float64
from alpharay.merge.write.journal import clear
from alpharay.merge.write.manifest import FileRecord, InputRecord, Manifest, OutputRecord, read_manifest
from alpharay.merge.write.run import MergedCheckpoint, MergeResult
from alpharay.merge.write.target import MANIFEST, check_target, partial_directory, publish, sync


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
    low, high, out = Path(low), Path(high), Path(out)
    values, settings = check_alphas(alphas), read_settings(dtype=dtype, rounding=rounding, seed=seed)
    if same_file(low, high):
        raise UsageError(f"LOW and HIGH are both {low}; give the two endpoints of the frontier")
    first, other = open_adapter(low), open_adapter(high)
    check_same_base(first, other, base)
    identity = {
        "method": "ewa of adapters",
        "alphas": list(values),
        "dtype": settings.dtype.name if settings.dtype else None,
        "rounding": settings.rounding,
        "seed": settings.seed if settings.rounding == "stochastic" else None,
        "base": base,
    }
    inputs = (_input("low", first), _input("high", other))
    check_target(out, [low, high])
    manifest = _find_done(out, identity, inputs)
    written = manifest is None
    if manifest is None:
        with partial_directory(out) as partial:
            clear(partial)
            outputs = tuple(_write(first, other, alpha, settings, base, partial) for alpha in values)
            pairs = [(output.alpha, output.effective_alpha) for output in outputs]
            wrong = [pair for pair in pairs if off(*pair)]
            manifest = Manifest(
                identity=identity,
                inputs=inputs,
                companions=_companions(low, high),
                outputs=outputs,
                warnings=(
                    *([warning((settings.dtype or FP32).name, wrong)] if wrong else []),
                    *prompting_differences(low, high, low),
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
            )
            for record in manifest.outputs
        ),
        dtype=(settings.dtype or FP32).name,
        warnings=manifest.warnings,
        written=written,
    )  # fmt: skip


def concatenate(low: Factors | None, high: Factors | None, alpha: float, rank: int) -> Factors:
    """(1 - alpha) * low + alpha * high as one pair of factors with scaling 1 and `rank` rows in A."""
    parts = [
        (factors.a, weight * factors.scaling * factors.b)
        for factors, weight in ((low, 1.0 - alpha), (high, alpha))
        if factors is not None
    ]
    a = np.concatenate([part for part, _ in parts], axis=0)
    b = np.concatenate([part for _, part in parts], axis=1)
    missing = rank - len(a)
    a = np.pad(a, [(0, missing)] + [(0, 0)] * (a.ndim - 1))
    b = np.pad(b, [(0, 0), (0, missing)] + [(0, 0)] * (b.ndim - 2))
    like = low or high
    assert like is not None
    return replace(like, a=a, b=b, scaling=1.0)


def combine(first: Adapter, other: Adapter, alpha: float) -> tuple[dict[str, Factors], int]:
    """All modules of theta(alpha), by name, and their rank."""
    ranks = [max(len(factors.a) for factors in side.modules.values()) for side in (first, other)]
    rank = sum(ranks)
    names = [*first.modules, *(name for name in other.modules if name not in first.modules)]
    return {
        name: concatenate(first.modules.get(name), other.modules.get(name), alpha, rank) for name in names
    }, rank


def _write(
    first: Adapter, other: Adapter, alpha: float, settings: Settings, base: str | None, partial: Path
) -> OutputRecord:
    directory = partial / alpha_name(alpha)
    directory.mkdir()
    for file, root in _companion_roots(first.path, other.path).items():
        target = directory / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((root / file).read_bytes())
        sync(target)
    end = {0.0: first, 1.0: other}.get(alpha)
    if end is not None and settings.dtype in (None, end.dtype):
        # Exactly one adapter: its own factors, rank and scaling.
        content: dict[str, Any] = end.config | ({"base_model_name_or_path": base} if base else {})
        weights = (end.path / ADAPTER_WEIGHTS).read_bytes()
        sums = {
            name: Sums(error_direction=0.0, direction_direction=0.0, error_error=0.0) for name in end.modules
        }
    else:
        modules, rank = combine(first, other, alpha)
        stored, weights = store(modules, settings)
        content = adapter_config(first.config, modules, rank=rank, scale=rank, base=base)
        sums = {
            name: _sums(modules[name], stored[name], first.modules.get(name), other.modules.get(name))
            for name in modules
        }
    (directory / ADAPTER_CONFIG).write_text(json.dumps(content, indent=2) + "\n")
    (directory / ADAPTER_WEIGHTS).write_bytes(weights)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        sync(directory / name)
    whole = realised(add(sums.values()), alpha)
    files = tuple(_record(directory, name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS))
    return OutputRecord(
        name=alpha_name(alpha),
        alpha=alpha,
        sha256=combine_sha256((file.name, file.sha256) for file in files if file.name == ADAPTER_WEIGHTS),
        effective_alpha=whole.effective_alpha,
        rounding_error=whole.rounding_error,
        groups={group: realised(part, alpha).effective_alpha for group, part in by_group(sums).items()},
        files=files,
    )


def _sums(exact: Factors, stored: StoredFactors, low: Factors | None, high: Factors | None) -> Sums:
    """What rounding the factors did to the products, from Gram matrices: no product is ever formed."""
    error = [(exact.b, exact.a, -1.0), (stored.b, stored.a, 1.0)]
    delta = [
        (factors.b, factors.a, sign * factors.scaling)
        for factors, sign in ((high, 1.0), (low, -1.0))
        if factors is not None
    ]
    return Sums(
        error_direction=_inner(error, delta),
        direction_direction=_inner(delta, delta),
        error_error=max(0.0, _inner(error, error)),
    )


def _inner(left: list[tuple[Float64, Float64, float]], right: list[tuple[Float64, Float64, float]]) -> float:
    """Sum over elements of (sum of B A) times (sum of B' A'), each (B, A, factor)."""
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
