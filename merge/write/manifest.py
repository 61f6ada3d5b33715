"""manifest.json: what a merge read, did and wrote, and whether an existing one is of the same merge."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alpharay.merge.checkpoints.companions import companion_bytes, companion_roots
from alpharay.merge.checkpoints.fingerprint import combine_sha256, file_sha256
from alpharay.merge.compute.plan import Plan, Source
from alpharay.merge.errors import CheckpointError, TargetExists
from alpharay.merge.write.target import MANIFEST

FORMAT = "alpharay merge 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One file, by its name within its checkpoint."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecord:
    """One checkpoint that was read; sha256 identifies its weights (see checkpoint_sha256)."""

    role: str
    path: str
    sha256: str
    files: tuple[FileRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecord:
    """One checkpoint that was written.

    groups: of each layer group its effective alpha. effective_weights: of each input, by its role; empty where they were
    not measured.
    """

    name: str
    alpha: float
    sha256: str
    effective_alpha: float
    rounding_error: float
    groups: dict[str, float]
    files: tuple[FileRecord, ...]
    effective_weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of manifest.json. `companions` are the files carried over from an input."""

    identity: dict[str, Any]
    inputs: tuple[InputRecord, ...]
    companions: tuple[FileRecord, ...]
    outputs: tuple[OutputRecord, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """Deterministic: no times, so that two runs of one merge write the same bytes."""
        content = {"format": FORMAT, **self.identity}
        content |= {key: value for key, value in asdict(self).items() if key != "identity"}
        return json.dumps(content, indent=2) + "\n"


def read_manifest(out: Path) -> Manifest:
    """The manifest in `out`. Raises TargetExists when it is not of this version."""
    path = out / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        parts = {key: content.pop(key) for key in ("inputs", "companions", "outputs", "warnings")}
        if content.pop("format") == FORMAT:
            return Manifest(
                identity=content,
                inputs=tuple(
                    InputRecord(**part | {"files": _files(part["files"])}) for part in parts["inputs"]
                ),
                companions=_files(parts["companions"]),
                outputs=tuple(
                    OutputRecord(**part | {"files": _files(part["files"])}) for part in parts["outputs"]
                ),
                warnings=tuple(parts["warnings"]),
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # raised below, together with the manifest of another version
    raise TargetExists(
        f"{path} is not the manifest of a merge by this version; remove {out} or give another --out"
    )


def _files(parts: list[dict[str, Any]]) -> tuple[FileRecord, ...]:
    return tuple(FileRecord(**part) for part in parts)


def companion_records(plan: Plan) -> tuple[FileRecord, ...]:
    """The companions as they will be written."""
    records = []
    for file, root in companion_roots(plan.companion_paths).items():
        content = companion_bytes(root, file, plan.settings.dtype)
        records.append(FileRecord(name=str(file), bytes=len(content), sha256=_sha256(content)))
    return tuple(records)


def input_record(source: Source, hashes: Sequence[str]) -> InputRecord:
    """What was read from `source`, given the hash of each of its shards."""
    files = tuple(
        FileRecord(name=shard.path.name, bytes=shard.nbytes, sha256=digest)
        for shard, digest in zip(source.checkpoint.shards, hashes, strict=True)
    )
    return InputRecord(
        role=source.role,
        path=os.path.realpath(source.checkpoint.path),
        sha256=combine_sha256((file.name, file.sha256) for file in files),
        files=files,
    )


def find_done(plan: Plan, out: Path) -> Manifest | None:
    """The manifest in `out` when it is of exactly this merge and its outputs are whole; None without one.

    Files that are older than the manifest are unchanged since, as make would say; others are hashed.
    Raises TargetExists when `out` holds anything else.
    """
    if not (out / MANIFEST).exists():
        return None
    manifest = read_manifest(out)
    identity = json.loads(json.dumps(plan.identity()))
    for key, value in identity.items():
        if manifest.identity.get(key) != value:
            raise TargetExists(
                f"{out} holds another merge ({key} {json.dumps(manifest.identity.get(key))}, now "
                f"{json.dumps(value)}); remove it or give another --out"
            )
    written = (out / MANIFEST).stat().st_mtime_ns
    if manifest.companions != companion_records(plan):
        raise TargetExists(
            f"{out} was merged when the tokenizer or configs of {plan.companion_path} "
            "were others; "
            "remove it or give another --out"
        )
    for source, record in zip(plan.sources, manifest.inputs, strict=True):
        path, shards = source.checkpoint.path, source.checkpoint.shards
        same = [shard.path.name for shard in shards] == [file.name for file in record.files]
        pairs = zip(shards, record.files, strict=False)
        if not same or not all(_same(shard.path, file, written) for shard, file in pairs):
            raise TargetExists(
                f"{out} was merged from other weights than those now in {path}; "
                "remove it or give another --out"
            )
    for output in manifest.outputs:
        for file in (*output.files, *manifest.companions):
            if not _same(out / output.name / file.name, file, written):
                raise TargetExists(
                    f"{out / output.name / file.name} was changed after the merge; "
                    f"remove {out} and merge again"
                )
    return manifest


def _same(path: Path, record: FileRecord, written: int) -> bool:
    try:
        status = path.stat()
        if status.st_size != record.bytes:
            return False
        # The change time too: a file moved into place keeps its old modification time.
        if max(status.st_mtime_ns, status.st_ctime_ns) < written:
            return True
        return file_sha256(path) == record.sha256
    except (OSError, CheckpointError):
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
