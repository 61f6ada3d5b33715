"""Kattis problem packages: a folder with problem.yaml, a statement, and data/{sample,secret}/**/*.in and .ans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from alpharay.judge.formats.row import Unusable

Json = dict[str, Any]

_STATEMENTS = ("problem.en.md", "problem.en.tex", "problem.md", "problem.tex")
_TOLERANCES = ("float_tolerance", "float_absolute_tolerance", "float_relative_tolerance")


def packages(folder: Path) -> Iterator[Path]:
    """The folder itself, or all packages directly in it."""
    if (folder / "problem.yaml").is_file():
        yield folder
        return
    yield from sorted(one.parent for one in folder.glob("*/problem.yaml"))


def convert(folder: Path) -> Json:
    """The levels of its cases are 0 for samples and 1 for secret ones. Raises Unusable."""
    settings = _settings(folder / "problem.yaml")
    validation = str(settings.get("validation") or "default")
    if validation.split(maxsplit=1)[0] != "default" or (folder / "output_validators").is_dir():
        raise Unusable("its answers are checked by a program of its own, which is not supported")
    cases = [_case(one, 0) for one in _inputs(folder, "sample")] + [
        _case(one, 1) for one in _inputs(folder, "secret")
    ]
    if not cases:
        raise Unusable("it has no test data (data/secret/*.in with .ans)")
    samples = [case for case in cases if case["level"] == 0]
    shown = "".join(
        f"\nSample input:\n{one['input'].rstrip()}\nSample output:\n{one['output'].rstrip()}\n"
        for one in samples
    )
    limits = settings.get("limits") if isinstance(settings.get("limits"), dict) else {}
    problem: Json = {
        "id": folder.name,
        "prompt": f"{_statement(folder).strip()}\n{shown}\n"
        "Write a Python program that reads standard input and prints the answer. Answer with one code block.\n",
        "tests": {"kind": "stdio", "cases": cases},
    }
    tolerance = _tolerance(settings, folder)
    if tolerance is not None:
        problem["tests"]["float_tolerance"] = tolerance
    seconds = (limits or {}).get("time_limit") or _number(folder / ".timelimit")
    if isinstance(seconds, int | float):
        problem["time_limit_s"] = float(seconds)
    memory = (limits or {}).get("memory")
    if isinstance(memory, int):
        problem["memory_limit_mb"] = memory
    return problem


def _settings(path: Path) -> Json:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Unusable(f"problem.yaml cannot be read: {' '.join(str(error).split())}") from error
    return found if isinstance(found, dict) else {}


def _inputs(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / "data" / kind).rglob("*.in"))


def _case(path: Path, level: int) -> Json:
    answer = path.with_suffix(".ans")
    try:
        return {
            "input": path.read_text(encoding="utf-8"),
            "output": answer.read_text(encoding="utf-8"),
            "level": level,
        }
    except FileNotFoundError as error:
        raise Unusable(f"{path.name} has no answer file {answer.name}") from error
    except UnicodeDecodeError as error:
        raise Unusable(f"{path.name} or its answer is not UTF-8 text") from error


def _statement(folder: Path) -> str:
    places = [
        place / name
        for place in (folder / "problem_statement", folder / "statement", folder)
        for name in _STATEMENTS
    ]
    for path in places:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise Unusable(f"it has no English statement (problem_statement/{_STATEMENTS[0]} or .tex)")


def _tolerance(settings: Json, folder: Path) -> float | None:
    """One number for absolute and relative errors: the larger where they differ."""
    flags = str(settings.get("validator_flags") or "").split()
    found = [flags[place + 1] for place, flag in enumerate(flags[:-1]) if flag in _TOLERANCES]
    try:
        return max(map(float, found), default=None)
    except ValueError as error:
        raise Unusable(f"{folder.name}: validator_flags hold no number after a tolerance") from error


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
