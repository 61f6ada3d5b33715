"""Git worktrees of the repository that the user is in: made, committed, and gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from alpharay.serve.errors import ServeError

# Where the user has no identity, without which git does not commit.
_SOMEBODY = ("-c", "user.name=alpharay attempt", "-c", "user.email=attempt@alpharay.invalid")
# The user's hooks are for the user's commits.
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "-c", "advice.detachedHead=false")


class AttemptFailed(ServeError):
    """The repository cannot be used for attempts, or git fails."""


class Worktrees:
    """Of one command. start: the commit that every attempt begins with.

    Raises AttemptFailed: no repository, no commit, or changes that are in no commit.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._root = Path(_git(folder, "rev-parse", "--show-toplevel"))
            self.start = _git(self._root, "rev-parse", "--verify", "HEAD")
        except AttemptFailed as error:
            raise AttemptFailed(f"attempts need a git repository with a commit: {error}") from None
        changed = _git(self._root, "status", "--porcelain", "--untracked-files=no")
        if changed:
            first = changed.splitlines()[0][2:].strip()
            raise AttemptFailed(
                f"{first} has changes that are in no commit, and attempts begin with a commit; commit or stash them"
            )
        # As deep in each worktree as the user is in the repository.
        self.inside = folder.resolve().relative_to(self._root.resolve())

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="alpharay-attempt-"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        _git(self._root, "worktree", "prune", "--expire", "now")

    def add(self, name: str) -> Path:
        """A new worktree of the first commit."""
        path = self._folder / name
        _git(self._root, *_QUIET, "worktree", "add", "--detach", str(path), self.start)
        return path

    def commit(self, worktree: Path, message: str) -> str:
        """All that has changed there, as a commit. Returns the worktree's last commit."""
        _git(worktree, "add", "--all")
        if _git(worktree, "status", "--porcelain"):
            _git(
                worktree, *_QUIET, *self._identity(), "commit", "--quiet", "--no-verify", "--message", message
            )
        return _git(worktree, "rev-parse", "HEAD")

    def _identity(self) -> tuple[str, ...]:
        try:
            _git(self._root, "var", "GIT_COMMITTER_IDENT")
        except AttemptFailed:
            return _SOMEBODY
        return ()

    def changes(self, commit: str) -> str:
        """Against the first commit: `3 files, +12 -4`, or "" where nothing has changed."""
        lines = [
            line.split("\t")
            for line in _git(self._root, "diff", "--numstat", self.start, commit).splitlines()
        ]
        if not lines:
            return ""
        added, removed = (
            sum(int(line[column]) for line in lines if line[column] != "-") for column in (0, 1)
        )
        return f"{len(lines)} file{'s' * (len(lines) > 1)}, +{added} -{removed}"

    def offer(self, commit: str) -> str:
        """A new branch at that commit; returns its name."""
        name = f"attempt/{uuid.uuid4().hex[:8]}"
        _git(self._root, "branch", "--no-track", name, commit)
        return name


def own_environment() -> dict[str, str]:
    """The user's; where a hook or an alias of git's runs us, without what names its repository."""
    inherited = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}
    return {name: value for name, value in os.environ.items() if name not in inherited}


def _git(folder: Path, *arguments: str) -> str:
    """What git prints. Raises AttemptFailed: it fails, or is not installed."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=own_environment(),
            capture_output=True,
            text=True,
            check=False,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for us: what is half done is cleaned up by git
        )
    except OSError as error:
        raise AttemptFailed(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        messages = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise AttemptFailed(f"git {arguments[0]}: {messages[-1]}")
    return done.stdout.rstrip("\n")
