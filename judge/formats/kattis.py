"""Kattis problem packages: a folder with problem.yaml, a statement, and data/{sample,secret}/**/*.in and .ans.

The legacy format, 2023-07 and 2025-09. What only a program of the package can judge is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from alpharay.judge.formats.row import Unusable
from alpharay.judge.formats.validator_flags import comparison, words

Json = dict[str, Any]

_STATEMENTS = ("problem.en.md", "problem.en.tex", "problem.md", "problem.tex")
_TYPES = {
    "interactive": "it is interactive: a program of its own talks with the candidate, which is not supported",
    "multi-pass": "it runs a program in several passes, with a program of its own between them, which is not supported",
    "multipass": "it runs a program in several passes, with a program of its own between them, which is not supported",
    "submit-answer": "it asks for the answers themselves, not for a program",
    "custom": "its answers are checked by a program of its own, which is not supported",
}
# Folders of programs and files without which its submissions are not judged as it says.
_FOLDERS = {
    "output_validators": _TYPES["custom"],
    "output_validator": _TYPES["custom"],
    "static_validator": "its programs' sources are checked by a program of its own, which is not supported",
    "include": "its programs are completed by files of its own (include/), which is not supported",
}
_GROUP_FILES = ("testdata.yaml", "test_group.yaml")
_FLAGS = ("output_validator_flags", "output_validator_args")
_LANGUAGES = (("python", ("all", "python3", "python")), ("cpp", ("cpp",)))
_PROGRAM = {"python": "Python", "cpp": "C++"}


def packages(folder: Path) -> Iterator[Path]:
    """The folder itself, or all packages directly in it."""
    if (folder / "problem.yaml").is_file():
        yield folder
        return
    yield from sorted(file.parent for file in folder.glob("*/problem.yaml"))


def convert(folder: Path) -> Json:
    """The levels of its cases are 0 for samples and 1 for secret ones. Raises Unusable."""
    settings = _yaml(folder / "problem.yaml")
    _check_supported(folder, settings)
    samples, secret = _inputs(folder, "sample"), _inputs(folder, "secret")
    cases = [_case(path, 0) for path in samples] + [_case(path, 1) for path in secret]
    if not cases:
        raise Unusable("it has no test data (data/secret/*.in with .ans)")
    language, limits = _language(settings), settings.get("limits")
    constants = _constants(settings)
    problem: Json = {
        "id": folder.name,
        "prompt": f"{_filled(_statement(folder), constants).strip()}\n{''.join(map(_shown, samples))}\n"
        f"Write a {_PROGRAM[language]} program that reads standard input and prints the answer. "
        "Answer with one code block.\n",
        "tests": {
            "kind": "stdio",
            "cases": cases,
            **comparison(_flags(folder, settings, [*samples, *secret], constants)),
        },
    }
    if language != "python":
        problem["language"] = language
    limits = limits if isinstance(limits, dict) else {}
    seconds = limits.get("time_limit") or _number(folder / ".timelimit")
    if isinstance(seconds, int | float):
        problem["time_limit_s"] = float(seconds)
    memory = limits.get("memory")
    if isinstance(memory, int):
        problem["memory_limit_mb"] = memory
    return problem


def _check_supported(folder: Path, settings: Json) -> None:
    """Raises Unusable: candidates cannot be judged by comparing what they print."""
    types = {*words(settings.get("type")), *words(settings.get("validation"))}
    for name, reason in _TYPES.items():
        if name in types or settings.get(name) is True:
            raise Unusable(reason)
    if any((folder / "data").rglob("*.interaction")):
        raise Unusable(_TYPES["interactive"])
    for name, reason in _FOLDERS.items():
        if any(path.is_file() and not path.name.startswith(".") for path in (folder / name).rglob("*")):
            raise Unusable(reason)
    if any(path.is_dir() for path in (folder / "data").rglob("*.files")):
        raise Unusable("its programs read files beside standard input (data/**/*.files)")


def _language(settings: Json) -> str:
    allowed = words(settings.get("languages")) or ["all"]
    for language, names in _LANGUAGES:
        if any(name in allowed for name in names):
            return language
    raise Unusable("its programs may be in neither Python nor C++ (languages in problem.yaml)")


def _flags(folder: Path, settings: Json, inputs: list[Path], constants: Json) -> list[str]:
    """The arguments of the default output validator. Raises Unusable: they are not the same for all cases."""
    common = words(settings.get("validator_flags"))
    flags = {tuple(_flags_of(path, folder / "data")) for path in inputs}
    if len(flags) > 1:
        raise Unusable("its test cases are compared in different ways (flags of test data groups)")
    return [_filled(word, constants) for word in (*common, *flags.pop())]


def _flags_of(path: Path, root: Path) -> list[str]:
    """What the case itself says, or the nearest group around it."""
    groups = [path.parent, *path.parent.parents]
    files = [path.with_suffix(".yaml")]
    files += [folder / name for folder in groups[: groups.index(root) + 1] for name in _GROUP_FILES]
    for file in files:
        settings = _yaml(file) if file.is_file() else {}
        if settings.get("args"):
            raise Unusable("its programs are given arguments on the command line")
        for name in _FLAGS:
            if name in settings:
                flags = settings[name]
                return words(flags.get("flags") if isinstance(flags, dict) else flags)
    return []


def _yaml(path: Path) -> Json:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        detail = f"{path.name}: {' '.join(str(error).split())}"
        raise Unusable("one of its YAML files cannot be read", detail) from error
    return content if isinstance(content, dict) else {}


def _inputs(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / "data" / kind).rglob("*.in"))


def _case(path: Path, level: int) -> Json:
    return {"input": _text(path), "output": _text(path.with_suffix(".ans")), "level": level}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Unusable("a test case has no answer file", path.name) from error
    except UnicodeDecodeError as error:
        raise Unusable("a file of its test cases is not UTF-8 text", path.name) from error


def _shown(path: Path) -> str:
    """A sample as the statement shows it, which may differ from what is judged."""
    input_file = next(filter(Path.is_file, (path.with_suffix(".in.statement"),)), path)
    answers = (path.with_suffix(suffix) for suffix in (".ans.statement", ".out"))
    answer = next(filter(Path.is_file, answers), path.with_suffix(".ans"))
    return f"\nSample input:\n{_text(input_file).rstrip()}\nSample output:\n{_text(answer).rstrip()}\n"


def _statement(folder: Path) -> str:
    paths = [
        parent / name
        for parent in (folder / "problem_statement", folder / "statement", folder)
        for name in _STATEMENTS
    ]
    for path in paths:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise Unusable(f"it has no English statement (problem_statement/{_STATEMENTS[0]} or .tex)")


def _constants(settings: Json) -> Json:
    constants = settings.get("constants")
    return constants if isinstance(constants, dict) else {}


def _filled(text: str, constants: Json) -> str:
    """Constants of problem.yaml in place of {{name}}, and of LaTeX's command for them."""
    return re.sub(
        r"\{\{(\w+)\}\}|\\constant\{(\w+)\}",
        lambda match: str(constants.get(match[1] or match[2], match[0])),
        text,
    )


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
