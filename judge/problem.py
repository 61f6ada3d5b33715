"""Problems and their tests, as files and requests carry them."""

import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from alpharay.judge import compare
from alpharay.judge.checkers import JudgeProgram, named, parse_checker, parse_interactor
from alpharay.judge.compare import EXACT, Comparison
from alpharay.judge.errors import ProblemError
from alpharay.judge.fields import Fields, short, wrong
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.workspace.repo import RepoTests, parse_repo


@dataclass(frozen=True, slots=True)
class StdioCase:
    """Text in, text out. level: which coverage level the case belongs to, if the problem has levels."""

    input: str
    output: str
    level: int | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class StdioTests:
    """Whole programs, compared token by token; numbers within float_tolerance where it is given.

    preamble: Python that is executed before each program, in its module, as in the harness of the tests' format.
    checker: a program that decides instead of a comparison; a case's output is then what that program gets as the answer.
    interactor: a program that talks with the candidate, whose standard input and output it is.
    """

    cases: tuple[StdioCase, ...]
    float_tolerance: float | None = None
    comparison: Comparison = EXACT
    preamble: str = ""
    checker: JudgeProgram | None = None
    interactor: JudgeProgram | None = None


@dataclass(frozen=True, slots=True)
class CallCase:
    """Arguments and the expected value, all JSON values."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    level: int | None = None


@dataclass(frozen=True)  # without slots, for what is computed once for all candidates
class CallTests:
    """Calls of one function (`Solution().name` is found too), compared as JSON values.

    preamble: as in StdioTests.
    strict_types: `True` is not `1`, `1` is not `1.0`; otherwise values are compared as Python's `==` does.
    """

    entry_point: str
    cases: tuple[CallCase, ...]
    float_tolerance: float | None = None
    strict_types: bool = True
    preamble: str = ""

    def __getstate__(self) -> dict[str, Any]:
        """Without what was computed: equal tests have equal pickles."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def python_cases(self) -> bytes:
        """The cases as the sandbox reads them, one JSON a line."""
        lines = (json.dumps({"args": case.args, "kwargs": case.kwargs}) + "\n" for case in self.cases)
        return "".join(lines).encode()

    @cached_property
    def expected(self) -> tuple[str | None, ...]:
        """Of each case, what the sandbox writes for the expected value; None where that has to be compared as a value."""
        return tuple(compare.canonical_or_none(case.output) for case in self.cases)

    @cached_property
    def expected_length(self) -> int:
        """About how many characters all expected values take."""
        return sum(compare.length(case.output) for case in self.cases)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class CodeTests:
    """A test program: bare asserts, or a `check(candidate)` that is called with the entry point.

    preamble: as in StdioTests. A program that is the rest of its last function is taken together with it.
    """

    code: str
    entry_point: str | None = None
    preamble: str = ""


Tests = StdioTests | CallTests | CodeTests | RepoTests

# Values cross between processes, and each side has a bound of its own on how deep it can go.
MOST_NESTED = 200

_COMPARED_BY = (
    "float_tolerance float_absolute_tolerance float_relative_tolerance case_sensitive space_change_sensitive "
    "numeric_lines"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. time_limit_s in CPU seconds per case, memory_limit_mb in MiB; None: the judge's own."""

    id: str
    prompt: str
    tests: Tests
    time_limit_s: float | None = None
    memory_limit_mb: int | None = None
    language: str = "python"

    def limits(self, default: Limits | None = None) -> Limits:
        """The problem's own limits, `default` where it sets none."""
        default = default or Limits()
        return Limits(
            cpu_s=default.cpu_s if self.time_limit_s is None else self.time_limit_s,
            memory_mb=default.memory_mb if self.memory_limit_mb is None else self.memory_limit_mb,
            output_bytes=default.output_bytes,
        )


def parse_problem(value: object) -> Problem:
    """A problem from one parsed JSON object.

    Raises ProblemError, whose text names the field and what to write instead.
    """
    fields = Fields(value, "the problem", "id prompt tests time_limit_s memory_limit_mb language", notes=True)
    problem = Problem(
        id=fields.text("id"),
        prompt=fields.text("prompt"),
        tests=parse_tests(fields.required("tests")),
        time_limit_s=fields.number("time_limit_s"),
        memory_limit_mb=fields.integer("memory_limit_mb"),
        language=fields.text("language", "python"),
    )
    check_language(problem.language, problem.tests)
    problem.limits()
    return problem


def languages_of(tests: Tests) -> tuple[str, ...]:
    """The languages of the programs that the tests themselves bring."""
    brought = (tests.checker, tests.interactor) if isinstance(tests, StdioTests) else ()
    return tuple(program.language for program in brought if program is not None)


def check_language(language: str, tests: Tests) -> None:
    """Raises ProblemError for an unknown language, or one whose programs such tests cannot run."""
    if language not in LANGUAGES:
        raise ProblemError(f"language must be one of {', '.join(LANGUAGES)}, got {short(language)}")
    if isinstance(tests, RepoTests):
        if language != "python":
            raise ProblemError(f"tests of kind repo need language python, got {language}")
        return
    kind = {StdioTests: "stdio", CallTests: "call", CodeTests: "code"}[type(tests)]
    if kind not in LANGUAGES[language].kinds:
        able = ", ".join(name for name, each in LANGUAGES.items() if kind in each.kinds)
        wrong = f"tests of kind {kind} need language {able}, got {language}"
        raise ProblemError(f"{wrong}; write stdio tests for {language} programs")
    if language != "python" and isinstance(tests, CallTests):
        keyword_case = next((index for index, case in enumerate(tests.cases) if case.kwargs), None)
        if keyword_case is not None:
            raise ProblemError(
                f"tests.cases[{keyword_case}].kwargs: {language} has no arguments by name; put the values into args"
            )
    if tests.preamble and language != "python":
        raise ProblemError(
            f"tests.preamble is Python and cannot stand before {language} programs; leave it out"
        )


def parse_tests(value: object) -> Tests:
    """Tests from the `tests` object of a problem or a request. Raises ProblemError as `parse_problem` does."""
    if not isinstance(value, dict):
        wrong("tests", "an object", value)
    kind = value.get("kind")
    if kind == "stdio":
        fields = Fields(
            value,
            "tests",
            f"kind cases checker interactor preamble {_COMPARED_BY}",
        )
        return _stdio_tests(fields)
    if kind == "call":
        fields = Fields(value, "tests", "kind entry_point cases float_tolerance strict_types preamble")
        return CallTests(
            fields.name("entry_point"),
            tuple(_call_case(*each) for each in fields.cases()),
            fields.tolerance("float_tolerance"),
            fields.boolean("strict_types", default=True),
            fields.preamble(),
        )
    if kind == "code":
        fields = Fields(value, "tests", "kind entry_point code preamble")
        code = fields.text("code")
        if not code.strip():
            raise ProblemError("tests.code is empty; write asserts, or a check(candidate) function")
        entry = fields.name("entry_point") if "entry_point" in value else None
        return CodeTests(code, entry, preamble=fields.preamble())
    if kind == "repo":
        return parse_repo(value)
    raise ProblemError(f'tests.kind must be "stdio", "call", "code" or "repo", got {short(kind)}')


def _stdio_tests(fields: Fields) -> StdioTests:
    checker = fields.values.get("checker")
    program = None if checker is None or isinstance(checker, str) else parse_checker(checker)
    interactor = fields.values.get("interactor")
    other = None if interactor is None else parse_interactor(interactor)
    answered = program is None and other is None
    cases = tuple(_stdio_case(*each, answered=answered) for each in fields.cases())
    comparison, tolerance = fields.comparison(), fields.tolerance("float_tolerance")
    if checker is not None:
        both = [name for name in _COMPARED_BY.split() if name in fields.values]
        if both:
            raise ProblemError(f"tests.checker and tests.{both[0]} both say how to compare; leave one out")
    if other is not None:
        _check_interactor(fields, other, program)
    if isinstance(checker, str):
        comparison, tolerance = named(checker, [case.output for case in cases])
    return StdioTests(cases, tolerance, comparison, fields.preamble(), program, other)


def _check_interactor(fields: Fields, interactor: JudgeProgram, checker: JudgeProgram | None) -> None:
    """Raises ProblemError where something beside an interactor would have no effect."""
    compared = [name for name in _COMPARED_BY.split() if name in fields.values]
    if compared or isinstance(fields.values.get("checker"), str):
        raise ProblemError(
            f"tests.{(compared or ['checker'])[0]} says how to compare, and the interactor decides; leave it out"
        )
    if checker is not None and interactor.style == "kattis":
        raise ProblemError(
            "tests.checker: an interactor of the kattis style decides itself; leave the checker out"
        )


def _stdio_case(value: object, where: str, *, answered: bool) -> StdioCase:
    """answered: the expected output must be there; a checker may need none."""
    fields = Fields(value, where, "input output level")
    output = fields.text("output") if answered else fields.text("output", "")
    return StdioCase(fields.text("input"), output, fields.integer("level"))


def _call_case(value: object, where: str) -> CallCase:
    fields = Fields(value, where, "args kwargs output level")
    args, kwargs = fields.required("args"), fields.values.get("kwargs", {})
    if not isinstance(args, list):
        wrong(f"{where}.args", "a list", args)
    if not isinstance(kwargs, dict):
        wrong(f"{where}.kwargs", "an object", kwargs)
    output = fields.required("output")
    if _too_deep([args, kwargs, output]):
        raise ProblemError(f"{where} is nested deeper than {MOST_NESTED} lists and objects")
    return CallCase(tuple(args), kwargs, output, fields.integer("level"))


def _too_deep(values: list[Any]) -> bool:
    for _ in range(MOST_NESTED + 1):
        values = [value for value in values if isinstance(value, list | dict)]
        if not values:
            return False
        values = [each for value in values for each in (value.values() if isinstance(value, dict) else value)]
    return True
