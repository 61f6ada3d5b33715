"""Hashes of files and of whole checkpoints."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from alpharay.merge.checkpoints.checkpoint import weight_files
from alpharay.merge.errors import CheckpointError


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def combine_sha256(files: Iterable[tuple[str, str]]) -> str:
    """One hash for a checkpoint from the (name, sha256) of its weight files.

    It is what `sha256sum *.safetensors | sha256sum` prints in its directory (in the C locale).
    """
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def checkpoint_sha256(path: Path) -> str:
    """The hash that identifies the weights in a checkpoint (or LoRA adapter) directory, in hexadecimal.

    For an output of a merge it equals the sha256 in manifest.json. Reads every weight file once.
    Raises CheckpointError.
    """
    adapter = Path(path) / "adapter_model.safetensors"
    files = (adapter,) if adapter.is_file() else weight_files(Path(path))
    return combine_sha256((file.name, file_sha256(file)) for file in files)


class StreamingHash:
    """SHA-256 of a file that is read piece by piece, as long as the pieces come in file order.

    A file whose tensors are wanted in another order than they lie in is hashed by a read of its own.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size
        self._position = 0
        self._hash = hashlib.sha256()

    def feed(self, start: int, data: bytes | memoryview) -> None:
        """Takes the bytes at offset `start`; ignores them unless they continue what came before."""
        if start == self._position:
            self._hash.update(data)
            self._position += len(data)

    def hexdigest(self) -> str:
        """The hash of the whole file."""
        return self._hash.hexdigest() if self.complete else file_sha256(self.path)

    @property
    def complete(self) -> bool:
        """Whether every byte has come, in order."""
        return self._position == self._size
