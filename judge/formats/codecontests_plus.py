"""CodeContests+ (ByteDance Seed): a checker for each problem, and its tests or what makes them.

A row has `source`, `id`, `title`, `description`, `time_limit` (ms), `memory_limit` (MB), `checker`, and `test_cases`
(`input`, `output`; the configurations 1x to 5x), or a `generator` with its command lines (`generator_cmd`) and a `validator`,
all C++ with testlib, and `correct_submissions` (`code`, `language`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from alpharay.judge.checkers import JudgeProgram, parse_checker
from alpharay.judge.errors import ProblemError
from alpharay.judge.formats.graded import levels
from alpharay.judge.formats.row import (
    ONE_BLOCK,
    PROGRAM,
    Unusable,
    decoded,
    identity,
    limits,
    statement,
    text,
)
from alpharay.judge.pool.generating import MOST_COMMANDS, Recipe
from alpharay.judge.program import Program

Json = dict[str, Any]

Make = Callable[[Recipe], list[tuple[str, str]]]

_TESTLIB = "testlib.h"
_LANGUAGES = {
    **dict.fromkeys(("py3", "python3", "python", "pypy3"), "python"),
    **dict.fromkeys(("cpp", "c++", "cpp17", "cpp20", "cc"), "cpp"),
}
MOST_REFERENCES = 3


def convert(row: Json, make: Make, testlib: str | None) -> Json:
    """make: runs a generator, whose tests are then the problem's. testlib: the header's text, which the data does not bring.

    Raises Unusable.
    """
    description = statement(row)
    checker = _program(row, "checker", testlib)
    cases = _cases(row)
    if not cases:
        cases = make(_recipe(row, checker, testlib))
    tests: Json = {
        "kind": "stdio",
        "cases": [
            {"input": input_text, "output": output, "level": level}
            for (input_text, output), level in zip(
                cases, levels([input_text for input_text, _ in cases]), strict=True
            )
        ],
    }
    if checker is not None:
        tests["checker"] = checker
    source, title = text(row, "source", default=""), text(row, "title", default="").strip()
    identifier = identity(row, "id", "name")
    milliseconds = _number(row.get("time_limit"))
    return {
        "id": f"{source}/{identifier}" if source else identifier,
        "prompt": f"{title}\n\n{description}\n\n{PROGRAM} {ONE_BLOCK}\n".lstrip(),
        "tests": tests,
        **limits(milliseconds and milliseconds / 1000, _number(row.get("memory_limit"))),
    }


def _cases(row: Json) -> list[tuple[str, str]]:
    cases = decoded(row.get("test_cases") or [], "test_cases")
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise Unusable("test_cases is not a list of cases")
    return [(text(case, "input"), text(case, "output")) for case in cases]


def _program(row: Json, name: str, testlib: str | None) -> Json | None:
    """A program of the row's as the judge takes it, with the header beside it. None: the row has none."""
    source = text(row, name, default="")
    if not source.strip():
        return None
    program: Json = {"language": "cpp" if "#include" in source else "python", "source": source}
    if program["language"] == "cpp" and _TESTLIB in source:
        if testlib is None:
            raise Unusable(
                f"its {name} includes {_TESTLIB}, which is not in the data; give it with --testlib FILE"
            )
        program["files"] = {_TESTLIB: testlib}
    return program


def _parsed(program: Json | None, name: str) -> JudgeProgram | None:
    try:
        return None if program is None else parse_checker(program)
    except ProblemError as error:
        raise Unusable(f"its {name} cannot be run", str(error)) from error


def _recipe(row: Json, checker: Json | None, testlib: str | None) -> Recipe:
    generator = _parsed(_program(row, "generator", testlib), "generator")
    if generator is None:
        raise Unusable("it has no tests (test_cases) and nothing that makes them (generator)")
    commands = _commands(row)
    if not commands:
        raise Unusable("its generator has no command lines (generator_cmd)")
    references = _references(row)
    if not references:
        raise Unusable("it has no correct submission in Python 3 or C++, by which outputs could be made")
    milliseconds, megabytes = (
        _number(row.get("time_limit")) or 6000.0,
        _number(row.get("memory_limit")) or 512.0,
    )
    bounds = limits(milliseconds / 1000, megabytes)
    return Recipe(
        generator=generator,
        commands=tuple(commands),
        validator=_parsed(_program(row, "validator", testlib), "validator"),
        references=tuple(references),
        checker=_parsed(checker, "checker"),
        time_limit_s=bounds["time_limit_s"],
        memory_mb=bounds["memory_limit_mb"],
    )


def _commands(row: Json) -> list[tuple[str, ...]]:
    """Command lines without the program's own name, one a line or an item."""
    value = row.get("generator_cmd") or row.get("generator_cmds") or row.get("commands") or []
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise Unusable("generator_cmd is not text")
    commands = []
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise Unusable("a line of generator_cmd is no command line", line[:60]) from error
        if ">" in words:  # where a shell would put what it prints
            words = words[: words.index(">")]
        if words and not words[0].startswith("-") and not words[0].lstrip("-").isdigit():
            words = words[1:]
        if line.strip() and tuple(words) not in commands:
            commands.append(tuple(words))
    return commands[:MOST_COMMANDS]


def _references(row: Json) -> list[tuple[str, Program]]:
    """Correct submissions with their languages: of each the first, then further ones."""
    submissions = row.get("correct_submissions") or []
    if not isinstance(submissions, list):
        raise Unusable("correct_submissions is not a list")
    references = []
    for submission in submissions:
        if isinstance(submission, dict) and isinstance(submission.get("code"), str):
            language = _LANGUAGES.get(str(submission.get("language")).lower())
            if language is not None:
                references.append((language, Program(submission["code"], fenced=True)))
    references.sort(key=lambda reference: reference[0] != "cpp")  # the faster ones first
    return references[:MOST_REFERENCES]


def _number(value: Any) -> float | None:
    return (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
    )
