"""Tests of kind `repo`: files, what a candidate changes in them, and commands that say whether that is right."""

import re
import shlex
from dataclasses import dataclass
from typing import Any

from alpharay.judge.errors import ProblemError
from alpharay.judge.fields import Fields, short, wrong
from alpharay.judge.workspace.files import Tree, check_path, check_tree, parse_files
from alpharay.judge.workspace.patch import PatchError, apply

PATCH = "patch"
MOST_COMMANDS, LONGEST_COMMAND = 20, 1000
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_OPENS = re.compile(r"(`{3,}|~{3,})[ \t]*(?:diff|patch|udiff)\b")
_PYTHON = ("python", "python3")

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class RepoTests:
    """files: the repository as candidates know it. answer: the path of the file that a candidate's program becomes, or
    `patch`: the candidate writes a unified diff. hidden: files that are laid over the candidate's. setup, verify: Python
    commands, without `python`; the verdict is the exit codes of `verify`. public: what they print may be shown.
    stdin: their standard input. fetch: files that are wanted back after the last command.
    """

    files: tuple[tuple[str, bytes], ...]
    verify: tuple[Command, ...]
    answer: str = PATCH
    hidden: tuple[tuple[str, bytes], ...] = ()
    setup: tuple[Command, ...] = ()
    public: bool = False
    stdin: bytes = b""
    fetch: tuple[str, ...] = ()

    @property
    def uses_pytest(self) -> bool:
        return any(command[:2] == ("-m", "pytest") for command in (*self.setup, *self.verify))


def parse_repo(value: dict[str, Any]) -> RepoTests:
    """Raises ProblemError."""
    fields = Fields(value, "tests", "kind files answer hidden setup verify public")
    files = parse_files(fields.required("files"), "tests.files", encoded=False)
    hidden = parse_files(value.get("hidden", {}), "tests.hidden", encoded=False)
    check_tree(files | hidden, "tests.files with tests.hidden")
    answer = fields.text("answer", PATCH)
    if answer != PATCH:
        check_path(answer, "tests.answer")
    verify = _commands(fields.required("verify"), "tests.verify")
    if not verify:
        raise ProblemError("tests.verify is empty; write commands such as python -m pytest -q")
    return RepoTests(
        files=tuple(files.items()),
        verify=verify,
        answer=answer,
        hidden=tuple(hidden.items()),
        setup=_commands(value.get("setup", []), "tests.setup"),
        public=fields.boolean("public", default=False),
    )


def _commands(value: object, where: str) -> tuple[Command, ...]:
    if not isinstance(value, list) or len(value) > MOST_COMMANDS:
        wrong(where, f"a list of at most {MOST_COMMANDS} commands", value)
    return tuple(_command(each, f"{where}[{number}]") for number, each in enumerate(value))


def _command(value: object, where: str) -> Command:
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ProblemError(f"{where} is no command: {error}") from None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        wrong(where, "a command, as text or a list of words", value)
    if sum(map(len, words)) > LONGEST_COMMAND or len(words) > 100 or not all(map(str.isprintable, words)):
        raise ProblemError(
            f"{where} must be at most 100 words of {LONGEST_COMMAND} characters that can be printed"
        )
    if words[:1] == ["pytest"]:
        words = ["python", "-m", *words]
    program, rest = (words[0], words[1:]) if words else ("", [])
    runs = bool(rest) and (
        not rest[0].startswith("-")
        or (rest[0] == "-m" and bool(rest[1:]) and bool(_MODULE.fullmatch(rest[1])))
    )
    if program not in _PYTHON or not runs:
        raise ProblemError(
            f"{where}: {short(' '.join(words))} cannot be run, since the sandbox starts no program but Python; "
            "write python FILE … or python -m MODULE …"
        )
    if rest[0] != "-m":
        check_path(rest[0], where)
    return tuple(rest)


def patch_in(completion: str) -> str | None:
    """The last diff block of a model's answer, or the answer where it is a diff as a whole."""
    # Line by line: a pattern for whole blocks would look through the rest of an answer at each block that is never closed.
    last, fence, block = None, "", [""]
    for line in completion.split("\n"):
        if fence and line.rstrip(" \t") == fence:
            last, fence = "".join(block), ""
        elif fence:
            block.append(f"{line}\n")
        elif opened := _OPENS.match(line):
            fence, block = opened[1], []
    if last is not None:
        return last
    return completion if re.search(r"(?m)^--- .*\n\+\+\+ ", completion) and "```" not in completion else None


def answered(tests: RepoTests, text: str) -> Tree:
    """The files with what a candidate wrote in them: a patch, or the program that becomes one of them.

    Raises PatchError.
    """
    files = dict(tests.files)
    if tests.answer == PATCH:
        files = apply(files, text)
    else:
        files[tests.answer] = text.encode("utf-8", "surrogatepass")
    whole = {**files, **dict(tests.hidden)}
    try:
        check_tree(whole, "the files with the answer")
    except ProblemError as error:
        raise PatchError(str(error)) from None
    return whole
