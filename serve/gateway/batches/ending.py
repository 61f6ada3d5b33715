"""The two files that a batch leaves: its answers, and what became of its other requests."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

from alpharay.serve.gateway.batches import wire
from alpharay.serve.gateway.batches.folder import Folder
from alpharay.serve.gateway.batches.outcomes import OK
from alpharay.serve.gateway.batches.run import BatchRun
from alpharay.serve.learn.store import StoredBatch, StoredFile

_WHY = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed before the batch was cancelled."),
    "completed": ("budget_spent", "The batch's budget was spent before this request had a sample."),
}


def write_files(folder: Folder, batch: StoredBatch, run: BatchRun[Any], how: str) -> dict[str, StoredFile]:
    """The files by the fields of the batch that name them; one that would be empty is none.

    how: the batch ends: completed, expired or cancelled. Written again, they are the same files. Blocking. Raises OSError.
    """
    parts = {name: _Part(folder.file(_id(batch, name))) for name in ("output_file_id", "error_file_id")}
    code, message = _WHY[how]
    for index, kind, text in run.results():
        if text is None:
            unanswered = {
                "id": f"batch_req_{uuid.uuid4().hex}",
                "custom_id": run.lines.read(index).custom_id,
                "response": None,
                "error": {"code": code, "message": message},
            }
            text = json.dumps(unanswered).encode()  # noqa: PLW2901 - of a request that has none
        parts["output_file_id" if kind == OK else "error_file_id"].add(text)
    now = time.time()
    expiry = batch.object.get("output_expires_after")
    return {
        name: StoredFile(
            id=_id(batch, name),
            key=batch.key,
            at=now,
            size=part.size,
            name=f"{batch.id}_{name.partition('_')[0]}.jsonl",
            purpose=wire.WRITTEN,
            expires=now + expiry["seconds"] if expiry else None,
        )
        for name, part in parts.items()
        if part.end()
    }


def _id(batch: StoredBatch, name: str) -> str:
    """The same whoever writes it, however often."""
    return f"file-{hashlib.sha256(f'{batch.id} {name}'.encode()).hexdigest()[:32]}"


class _Part:
    """A file that is there as a whole, once it is ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._file = self._part.open("wb")
        self.size = 0

    def add(self, text: bytes) -> None:
        self.size += self._file.write(text + b"\n")

    def end(self) -> bool:
        """Whether there is such a file."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self.size:
            self._part.replace(self._path)
        else:
            self._part.unlink()
        return bool(self.size)
