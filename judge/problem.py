"""Problems and their tests, as files and requests carry them."""

import difflib
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from alpharay.judge.compare import EXACT, Comparison
from alpharay.judge.errors import ProblemError
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits


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
    """

    cases: tuple[StdioCase, ...]
    float_tolerance: float | None = None
    comparison: Comparison = EXACT
    preamble: str = ""


@dataclass(frozen=True, slots=True)
class CallCase:
    """Arguments and the expected value, all JSON values."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    level: int | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
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


@dataclass(frozen=True, slots=True, weakref_slot=True)
class CodeTests:
    """A test program: bare asserts, or a `check(candidate)` that is called with the entry point.

    preamble: as in StdioTests. A program that is the rest of its last function is taken together with it.
    """

    code: str
    entry_point: str | None = None
    preamble: str = ""


Tests = StdioTests | CallTests | CodeTests


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
    fields = _Fields(
        value, "the problem", "id prompt tests time_limit_s memory_limit_mb language", notes=True
    )
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


def check_language(language: str, tests: Tests) -> None:
    """Raises ProblemError for a language that nobody knows, or one whose programs such tests cannot run."""
    if language not in LANGUAGES:
        raise ProblemError(f"language must be one of {', '.join(LANGUAGES)}, got {_short(language)}")
    kind = {StdioTests: "stdio", CallTests: "call", CodeTests: "code"}[type(tests)]
    if kind not in LANGUAGES[language].kinds:
        able = ", ".join(name for name, each in LANGUAGES.items() if kind in each.kinds)
        wrong = f"tests of kind {kind} need language {able}, got {language}"
        raise ProblemError(f"{wrong}; write stdio tests for {language} programs")
    if tests.preamble and language != "python":
        raise ProblemError(
            f"tests.preamble is Python and cannot stand before {language} programs; leave it out"
        )


def parse_tests(value: object) -> Tests:
    """Tests from the `tests` object of a problem or a request. Raises ProblemError as `parse_problem` does."""
    if not isinstance(value, dict):
        _wrong("tests", "an object", value)
    kind = value.get("kind")
    if kind == "stdio":
        fields = _Fields(
            value,
            "tests",
            "kind cases float_tolerance float_absolute_tolerance float_relative_tolerance case_sensitive "
            "space_change_sensitive numeric_lines preamble",
        )
        cases = tuple(_stdio_case(*each) for each in fields.cases())
        return StdioTests(cases, fields.tolerance("float_tolerance"), fields.comparison(), fields.preamble())
    if kind == "call":
        fields = _Fields(value, "tests", "kind entry_point cases float_tolerance strict_types preamble")
        return CallTests(
            fields.name("entry_point"),
            tuple(_call_case(*each) for each in fields.cases()),
            fields.tolerance("float_tolerance"),
            fields.boolean("strict_types", default=True),
            fields.preamble(),
        )
    if kind == "code":
        fields = _Fields(value, "tests", "kind entry_point code preamble")
        code = fields.text("code")
        if not code.strip():
            raise ProblemError("tests.code is empty; write asserts, or a check(candidate) function")
        entry = fields.name("entry_point") if "entry_point" in value else None
        return CodeTests(code, entry, preamble=fields.preamble())
    raise ProblemError(f'tests.kind must be "stdio", "call" or "code", got {_short(kind)}')


def _stdio_case(value: object, where: str) -> StdioCase:
    fields = _Fields(value, where, "input output level")
    return StdioCase(fields.text("input"), fields.text("output"), fields.integer("level"))


def _call_case(value: object, where: str) -> CallCase:
    fields = _Fields(value, where, "args kwargs output level")
    args, kwargs = fields.required("args"), fields.values.get("kwargs", {})
    if not isinstance(args, list):
        _wrong(f"{where}.args", "a list", args)
    if not isinstance(kwargs, dict):
        _wrong(f"{where}.kwargs", "an object", kwargs)
    return CallCase(tuple(args), kwargs, fields.required("output"), fields.integer("level"))


class _Fields:
    """Typed access to one JSON object; every refusal names the field.

    notes: whether it may carry fields of its owner's beside ours (a source, a reference solution). Those are
    not ours to refuse, unless they look like one of ours misspelled.
    """

    def __init__(self, value: object, where: str, known: str, *, notes: bool = False) -> None:
        if not isinstance(value, dict):
            _wrong(where, "an object", value)
        self.values: dict[str, Any] = value
        self._prefix = "" if where == "the problem" else f"{where}."
        names = known.split()
        for name in value:
            if name in names:
                continue  # before anything is compared: there may be very many cases
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
            if near or not notes:
                raise ProblemError(f"{self._prefix}{name} is not known; known are {', '.join(known.split())}")

    def required(self, name: str) -> Any:
        if name not in self.values:
            raise ProblemError(f"{self._prefix}{name} is missing")
        return self.values[name]

    def text(self, name: str, default: str | None = None) -> str:
        value = self.required(name) if default is None else self.values.get(name, default)
        if not isinstance(value, str):
            _wrong(f"{self._prefix}{name}", "a string", value)
        return value

    def name(self, name: str) -> str:
        value = self.text(name)
        if not all(part.isidentifier() for part in value.split(".")):
            raise ProblemError(f"{self._prefix}{name} must be a function's name, got {_short(value)}")
        return value

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            _wrong(f"{self._prefix}{name}", "a number", value)
        try:
            return float(value)
        except OverflowError:
            raise ProblemError(f"{self._prefix}{name} is too large a number") from None

    def integer(self, name: str) -> int | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            _wrong(f"{self._prefix}{name}", "an integer", value)
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            _wrong(f"{self._prefix}{name}", "true or false", value)
        return value

    def preamble(self) -> str:
        value = self.text("preamble", "")
        if "\0" in value:
            raise ProblemError(f"{self._prefix}preamble holds a null character, which no program may")
        return value

    def tolerance(self, name: str) -> float | None:
        value = self.number(name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ProblemError(f"{self._prefix}{name} must be a finite number >= 0, got {value}")
        return value

    def comparison(self) -> Comparison:
        return Comparison(
            case_sensitive=self.boolean("case_sensitive", default=True),
            space_change_sensitive=self.boolean("space_change_sensitive", default=False),
            float_absolute_tolerance=self.tolerance("float_absolute_tolerance"),
            float_relative_tolerance=self.tolerance("float_relative_tolerance"),
            numeric_lines=self.boolean("numeric_lines", default=False),
        )

    def cases(self) -> list[tuple[Any, str]]:
        value = self.required("cases")
        if not isinstance(value, list):
            _wrong(f"{self._prefix}cases", "a list", value)
        if not value:
            raise ProblemError(f"{self._prefix}cases is empty; give at least one case")
        return [(case, f"{self._prefix}cases[{place}]") for place, case in enumerate(value)]


def _wrong(field: str, wanted: str, value: object) -> NoReturn:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    raise ProblemError(f"{field} must be {wanted}, got {names.get(type(value), _short(value))}")


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "a very large number"
    return text if len(text) <= 60 else text[:57] + "..."
