"""The output directory: written beside its path under a temporary name, then renamed as a whole."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from alpharay.merge.errors import NoSpace, TargetBusy, TargetError, TargetExists, TargetIsInput

MANIFEST = "manifest.json"


def check_target(out: Path, inputs: Sequence[Path]) -> None:
    """Raises TargetError when `out` cannot become an output directory beside these inputs."""
    if out.is_symlink():
        raise TargetError(f"{out} is a symbolic link to {out.readlink()}; give the directory itself as --out")
    if out.exists() and not out.is_dir():
        raise TargetExists(f"{out} is a file; give another --out")
    target = Path(os.path.realpath(out))
    for path in inputs:
        source = Path(os.path.realpath(path))
        if source == target or target in source.parents:
            raise TargetIsInput(f"--out {out} would overwrite the input {path}; give another --out")
    if out.is_dir() and not (out / MANIFEST).is_file() and any(out.iterdir()):
        raise TargetExists(
            f"{out} is not empty and no output of alpharay merge; remove it or give another --out"
        )
    parent = existing_parent(target)
    if not parent.is_dir():
        raise TargetError(f"{parent} is not a directory; give another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise TargetError(f"{parent} is not writable; change its permissions or give another --out")


def existing_parent(path: Path) -> Path:
    """The nearest ancestor of `path` that exists."""
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    return parent


def check_space(path: Path, needed: int) -> None:
    """Raises NoSpace unless `needed` bytes fit on the disk of `path`."""
    free = shutil.disk_usage(existing_parent(path)).free
    if needed > free:
        raise NoSpace(
            f"{path} needs {needed / 1e9:.2f} GB and its disk has {free / 1e9:.2f} GB free; "
            "free some, merge fewer alphas at a time or give another --out"
        )


@contextlib.contextmanager
def partial_directory(out: Path) -> Iterator[Path]:
    """A locked directory beside `out` to write into.

    On success the body has renamed it away by `publish`. On any error, an interrupt included, it is
    removed, so that nothing half-written stays; only a killed process leaves it for the next run.
    Raises TargetBusy, TargetError, NoSpace.
    """
    target = Path(os.path.realpath(out))
    made = [parent for parent in target.parents if not parent.exists()]
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(exist_ok=True)
        lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise write_error(error, partial) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TargetBusy(f"another merge is writing {out}; wait for it or give another --out") from None
        try:
            yield partial
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            for parent in made:
                _remove_if_empty(parent)
            if isinstance(error, OSError):
                raise write_error(error, partial) from error
            raise
    finally:
        os.close(lock)


def write_file(path: Path, content: bytes) -> None:
    """Writes a whole file so that it survives a power cut, and makes the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    sync(path)


def publish(partial: Path, out: Path) -> None:
    """Makes `partial` appear at `out` in one step that survives a power cut."""
    target = Path(os.path.realpath(out))
    for directory, _, _ in os.walk(partial):
        sync(Path(directory))
    # Renaming replaces an empty directory and nothing else.
    partial.rename(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Forces a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_error(error: OSError, path: Path) -> TargetError:
    """The error of the system as one sentence with the way out."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"the disk is full ({error.filename or path}); free some space or give another --out")
    return TargetError(f"{error.filename or path} cannot be written: {error.strerror}; give another --out")


def _remove_if_empty(directory: Path) -> None:
    # Not empty: something else moved in meanwhile.
    with contextlib.suppress(OSError):
        directory.rmdir()
