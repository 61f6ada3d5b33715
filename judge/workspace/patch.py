"""Applies a unified diff to files, as `git apply` and `patch -p1` do, without starting either on what a model wrote."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from alpharay.judge.errors import ProblemError
from alpharay.judge.workspace.files import Tree, check_path, check_tree

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@")
_NOTHING = "/dev/null"
# In bytes of the files that are changed, counted at each change; a line that is searched counts as eight. More than honest
# patches need, and a second or two of work, during which nothing else is judged.
_MOST_WORK, _OF_A_LINE = 64 << 20, 8


class PatchError(ValueError):
    """A candidate's patch cannot be applied; the text says which part."""


class _Work:
    """What applying a patch may still cost."""

    def __init__(self) -> None:
        self._left = _MOST_WORK

    def take(self, amount: int) -> None:
        """Raises PatchError: there is not so much left."""
        self._left -= amount
        if self._left < 0:
            raise PatchError("the patch has too many changes of files that are too long")


@dataclass(slots=True)
class _Hunk:
    start: int
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Change:
    old: str
    new: str
    hunks: list[_Hunk] = field(default_factory=list)


def apply(tree: Mapping[str, bytes], patch: str) -> Tree:
    """The files after the patch. A hunk may have moved by any number of lines; its lines must be there as they are.

    Raises PatchError.
    """
    changes = _parsed(patch)
    if not changes:
        raise PatchError("the patch changes nothing; a unified diff begins with --- and +++ lines")
    patched, work = dict(tree), _Work()
    for change in changes:
        path = change.old if change.new == _NOTHING else change.new
        try:
            for each in {change.old, change.new} - {_NOTHING}:
                check_path(each, "the patch")
        except ProblemError as error:
            raise PatchError(str(error)) from None
        content = b""
        if change.old != _NOTHING:
            if change.old not in patched:
                raise PatchError(f"the patch changes {change.old}, which is not there")
            content = patched.pop(change.old)
        elif path in patched:
            raise PatchError(f"the patch makes {path}, which is there already")
        if change.new != _NOTHING:
            patched[path] = _changed(content, change, path, work)
    try:
        check_tree(patched, "the patched files")
    except ProblemError as error:
        raise PatchError(str(error)) from None
    return patched


def _parsed(patch: str) -> list[_Change]:
    changes: list[_Change] = []
    lines = patch.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("--- ") and at < len(lines) and lines[at].startswith("+++ "):
            changes.append(_Change(_path(line, "a/"), _path(lines[at], "b/")))
            at += 1
        elif changes and (head := _HUNK.match(line)):
            hunk = _Hunk(int(head[1]))
            at = _read(hunk, lines, at, int(head[2] or 1))
            changes[-1].hunks.append(hunk)
        elif line.startswith(("GIT binary patch", "rename from ", "copy from ")):
            raise PatchError(f"the patch has {line.split(' from')[0]!r}, which is not supported")
    return changes


def _read(hunk: _Hunk, lines: list[str], at: int, count: int) -> int:
    """Reads a hunk's lines up to where it ends, whatever numbers a model wrote for the new side."""
    while at < len(lines):
        line = lines[at]
        if line[:1] in ("-", "+", " ") and not (line.startswith("--- ") and len(hunk.before) >= count):
            if line[0] != "+":
                hunk.before.append(line[1:])
            if line[0] != "-":
                hunk.after.append(line[1:])
        elif line == "" and len(hunk.before) < count:  # an empty line whose blank was lost
            hunk.before.append("")
            hunk.after.append("")
        elif not line.startswith("\\"):
            break
        at += 1
    return at


def _path(line: str, prefix: str) -> str:
    path = line[4:].split("\t", maxsplit=1)[0].strip()
    return path.removeprefix(prefix) if path != _NOTHING else path


def _changed(content: bytes, change: _Change, path: str, work: _Work) -> bytes:
    work.take(len(content))
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        raise PatchError(f"the patch changes {path}, which is not text") from None
    if not content:
        lines = [""] if change.old != _NOTHING else []
    moved = 0
    for number, hunk in enumerate(change.hunks, 1):
        work.take(len(lines))  # which all move
        start = _position(lines, hunk, max(0, hunk.start - 1 + moved), work)
        if start is None:
            raise PatchError(f"hunk {number} of {path} does not fit: its lines are not there")
        lines[start : start + len(hunk.before)] = hunk.after
        moved = start - (hunk.start - 1) + len(hunk.after) - len(hunk.before)
    if change.old == _NOTHING:
        lines.append("")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _position(lines: list[str], hunk: _Hunk, near: int, work: _Work) -> int | None:
    """Where the hunk's lines are, the nearest first."""
    size = len(hunk.before)
    if not size:
        return min(near + 1 if hunk.start and near else near, len(lines))
    if lines[near : near + size] == hunk.before:
        return near
    work.take(_OF_A_LINE * (len(lines) + size))
    return min(_occurrences(lines, hunk.before), key=lambda start: abs(start - near), default=None)


def _occurrences(lines: list[str], wanted: list[str]) -> Iterator[int]:
    """Where the wanted lines begin, by Knuth, Morris and Pratt: each line is looked at twice at most."""
    falls, agree = [0], 0  # by how many lines agree: with how many to go on where the next one does not
    for line in wanted[1:]:
        while agree and line != wanted[agree]:
            agree = falls[agree - 1]
        agree += line == wanted[agree]
        falls.append(agree)
    agree = 0
    for end, line in enumerate(lines, 1):
        while agree and (agree == len(wanted) or line != wanted[agree]):
            agree = falls[agree - 1]
        agree += line == wanted[agree]
        if agree == len(wanted):
            yield end - agree
