"""Files of a workspace: paths within it, contents, and all of them as one archive for the sandbox."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any

from alpharay.judge.errors import ProblemError
from alpharay.judge.fields import short, wrong
from alpharay.judge.guest.scratch import MISSING, SIZE_BYTES
from alpharay.judge.guest.workspace import OURS

MOST_FILES, MOST_BYTES = 1000, 8 << 20
LONGEST_PATH, DEEPEST = 200, 12

Tree = dict[str, bytes]


def check_path(path: str, where: str) -> None:
    """Raises ProblemError: the path is no plain one within the folder."""
    parts = path.split("/")
    if path.startswith("/"):
        reason = "is absolute"
    elif ".." in parts:
        reason = "leaves the folder"
    elif "" in parts or "." in parts:
        reason = "has an empty part or a ."
    elif len(path.encode("utf-8", "surrogatepass")) > LONGEST_PATH or len(parts) > DEEPEST:
        reason = f"is longer than {LONGEST_PATH} bytes or deeper than {DEEPEST} folders"
    elif not path.isprintable() or "\\" in path:
        reason = "holds a backslash or a character that cannot be printed"
    elif parts[0] == OURS:
        reason = f"begins with {OURS}, which is the judge's own"
    else:
        return
    raise ProblemError(
        f"{where}: {short(path)} {reason}; write a path such as src/module.py, with / and relative"
    )


def parse_files(value: object, where: str, *, encoded: bool) -> Tree:
    """encoded: contents are base64; otherwise text, or `{"base64": …}`. Raises ProblemError."""
    if not isinstance(value, dict):
        wrong(where, "an object of paths and contents", value)
    if len(value) > MOST_FILES:
        raise ProblemError(f"{where} holds {len(value)} files; {MOST_FILES} are accepted")
    tree: Tree = {}
    for path, content in value.items():
        check_path(path, where)
        tree[path] = _content(content, f"{where}[{short(path)}]", encoded=encoded)
    check_tree(tree, where)
    return tree


def check_tree(tree: Mapping[str, bytes], where: str) -> None:
    """Raises ProblemError: too much, or a path that is both a file and a folder."""
    total = sum(map(len, tree.values()))
    if total > MOST_BYTES or len(tree) > MOST_FILES:
        raise ProblemError(
            f"{where} holds {len(tree)} files of {total} bytes; {MOST_FILES} of {MOST_BYTES >> 20} MiB are accepted"
        )
    for path in tree:
        parts = path.split("/")
        for count in range(1, len(parts)):
            if (folder := "/".join(parts[:count])) in tree:
                raise ProblemError(f"{where}: {short(folder)} is a file and the folder of {short(path)}")


def _content(value: Any, where: str, *, encoded: bool) -> bytes:
    if isinstance(value, dict) and not encoded and value.keys() == {"base64"}:
        value, encoded = value["base64"], True
    if not isinstance(value, str):
        wrong(where, "base64 text" if encoded else 'text, or {"base64": …}', value)
    if not encoded:
        return value.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(f"{where} is not base64: {error}") from None


def packed(tree: Mapping[str, bytes], *, without: Iterable[str] = ()) -> bytes:
    """What `Scratch.unpack` takes apart: the size of a list of paths and sizes, the list, the contents.

    without: files that are to go, whose size is null.
    """
    sizes: list[tuple[str, int | None]] = [(path, None) for path in without]
    sizes += [(path, len(content)) for path, content in tree.items()]
    listed = json.dumps(sizes).encode()
    return len(listed).to_bytes(SIZE_BYTES, "big") + listed + b"".join(tree.values())


def fetched(answers: bytes, names: tuple[str, ...]) -> Tree:
    """The files that were wanted back and are there."""
    files: Tree = {}
    for name in reversed(names):
        size = int.from_bytes(answers[-SIZE_BYTES:], "big")
        answers = answers[:-SIZE_BYTES]
        if size != MISSING:
            files[name] = answers[len(answers) - size :]
            answers = answers[: len(answers) - size]
    return files
