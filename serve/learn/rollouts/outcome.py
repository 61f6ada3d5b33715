"""The columns of an outcome, one judged sample, and files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("problem", pa.string(), nullable=False),
        pa.field("member", pa.string(), nullable=False),
        pa.field("alpha", pa.float64()),
        pa.field("sample", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("failed_level", pa.int64()),
        pa.field("passed", pa.int64(), nullable=False),
        pa.field("total", pa.int64(), nullable=False),
        pa.field("prompt_tokens", pa.int64(), nullable=False),
        pa.field("completion_tokens", pa.int64(), nullable=False),
        pa.field("cpu_s", pa.float64(), nullable=False),
        pa.field("text_sha256", pa.string(), nullable=False),
    ]
)
# Of the member's checkpoints, a JSON object; null where it is no point of their span, as of a baseline. Files of earlier
# versions, and of others, lack the column.
WEIGHTS = pa.field("weights", pa.string())


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """Gives a path to write to, which then replaces `path` and is safe on disk; after an error nothing has changed."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
