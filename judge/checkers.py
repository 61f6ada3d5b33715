"""Checkers: what decides whether an output is right where comparing its tokens cannot.

By name, which are comparisons, and as programs that the problem brings, which run in the sandbox.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alpharay.judge.compare import EXACT, Comparison
from alpharay.judge.errors import ProblemError
from alpharay.judge.fields import Fields, short, wrong
from alpharay.judge.languages import JUDGING
from alpharay.judge.limits import Limits

STYLES = ("testlib", "kattis")
# What a checker may take for one case where the problem does not say.
CHECKER_LIMITS = Limits(cpu_s=10.0, memory_mb=1024)
NAMES = "tokens, lines, float(TOLERANCE) such as float(1e-6), case_insensitive, unordered, unordered(lines), yes_no"
# Files beside a program's source lie in one folder, among those that its run is given.
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
MOST_FILES, MOST_BYTES, MOST_FLAGS = 16, 4 << 20, 100
INPUT, OUTPUT, ANSWER = "input", "output", "answer"
# What validators of the Kattis form write into their feedback folder: words for judges, and for the candidate.
JUDGE_MESSAGE, TEAM_MESSAGE = "judgemessage.txt", "teammessage.txt"
FEEDBACK = (JUDGE_MESSAGE, TEAM_MESSAGE, "score.txt", "judgeerror.txt")
RESERVED = frozenset({INPUT, OUTPUT, ANSWER, *FEEDBACK, "program", "program.o"})
_FLOAT = re.compile(r"float\(\s*([^()\s]+)\s*\)")
_YES_NO = {"yes", "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeProgram:
    """A program that comes with a problem and decides about what candidates print.

    language: python or cpp. style: `testlib` or `kattis`, which say how it is called and what its exit code means.
    files: what its source includes or imports, by name. arguments: further ones on its command line.
    limits: of each of its runs. public: its messages may be shown; they often quote the expected answer.
    full_points: where it gives points (testlib's exit code 7), how many a case needs to pass.
    """

    language: str
    source: str
    style: str
    files: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    limits: Limits = CHECKER_LIMITS
    public: bool = False
    full_points: float = 1.0


def named(name: str, outputs: Sequence[str]) -> tuple[Comparison, float | None]:
    """The comparison that a checker's name stands for, and its float tolerance. outputs: the expected ones.

    Raises ProblemError: the name is not known, or does not suit what is expected.
    """
    tolerance = _FLOAT.fullmatch(name)
    if tolerance:
        try:
            return EXACT, Fields({"float": float(tolerance[1])}, "tests.checker", "float").tolerance("float")
        except ValueError:
            raise ProblemError(
                f"tests.checker: {short(tolerance[1])} in {name} is no number; write float(1e-6)"
            ) from None
    if name == "yes_no":
        for index, output in enumerate(outputs):
            if odd := next((token for token in output.split() if token.lower() not in _YES_NO), None):
                raise ProblemError(
                    f"tests.cases[{index}].output holds {short(odd)}, which the checker yes_no does not know; "
                    "expected outputs must be yes and no, in any case"
                )
    known = {
        "tokens": EXACT,
        "lines": Comparison(lines=True),
        "case_insensitive": Comparison(case_sensitive=False),
        "unordered": Comparison(unordered="tokens"),
        "unordered(lines)": Comparison(unordered="lines"),
        "yes_no": Comparison(case_sensitive=False),
    }
    if name not in known:
        raise ProblemError(f"tests.checker must be a program or one of {NAMES}, got {short(name)}")
    return known[name], None


def parse_checker(value: object) -> JudgeProgram:
    """A checker that is a program, from its JSON object. Raises ProblemError."""
    return _program(value, "tests.checker")


def parse_interactor(value: object) -> JudgeProgram:
    """A program that talks with candidates, from its JSON object. Raises ProblemError."""
    return _program(value, "tests.interactor")


def _program(value: object, where: str) -> JudgeProgram:
    known = "language source style files flags time_limit_s memory_limit_mb public full_points"
    fields = Fields(value, where, known)
    language, style = fields.text("language"), fields.text("style", "testlib")
    if language not in JUDGING:
        raise ProblemError(f"{where}.language must be one of {', '.join(JUDGING)}, got {short(language)}")
    if style not in STYLES:
        raise ProblemError(f"{where}.style must be one of {', '.join(STYLES)}, got {short(style)}")
    source = fields.text("source")
    if not source.strip() or "\0" in source:
        raise ProblemError(f"{where}.source is {'empty' if not source.strip() else 'no text'}")
    full_points = fields.number("full_points")
    if full_points is not None and not (math.isfinite(full_points) and full_points > 0):
        raise ProblemError(f"{where}.full_points must be a finite number above 0, got {full_points}")
    return JudgeProgram(
        language=language,
        source=source,
        style=style,
        files=_files(fields, where),
        arguments=_flags(fields.values.get("flags", []), where),
        limits=_limits(fields, where),
        public=fields.boolean("public", default=False),
        full_points=1.0 if full_points is None else full_points,
    )


def _limits(fields: Fields, where: str) -> Limits:
    cpu_s, memory_mb = fields.number("time_limit_s"), fields.integer("memory_limit_mb")
    try:
        return Limits(
            cpu_s=CHECKER_LIMITS.cpu_s if cpu_s is None else cpu_s,
            memory_mb=CHECKER_LIMITS.memory_mb if memory_mb is None else memory_mb,
        )
    except ProblemError as error:
        raise ProblemError(f"{where}.{error}") from None


def _files(fields: Fields, where: str) -> tuple[tuple[str, str], ...]:
    value = fields.values.get("files", {})
    if not isinstance(value, dict):
        wrong(f"{where}.files", "an object of names and contents", value)
    if len(value) > MOST_FILES:
        raise ProblemError(f"{where}.files holds {len(value)} files; {MOST_FILES} are accepted")
    for name, content in value.items():
        if not FILE_NAME.fullmatch(name) or name in RESERVED:
            raise ProblemError(
                f"{where}.files: {short(name)} cannot be a file's name here; use letters, digits and _ . + -, "
                f"no folders, and none of {', '.join(sorted(RESERVED))}"
            )
        if not isinstance(content, str):
            wrong(f"{where}.files[{short(name)}]", "a string, the file's content", content)
    if sum(map(len, value.values())) > MOST_BYTES:
        raise ProblemError(f"{where}.files is larger than {MOST_BYTES >> 20} MiB")
    return tuple(sorted(value.items()))


def _flags(value: Any, where: str) -> tuple[str, ...]:
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        wrong(f"{where}.flags", "a string or a list of strings", value)
    if any("\0" in word for word in words) or sum(map(len, words)) > 1000 or len(words) > MOST_FLAGS:
        raise ProblemError(
            f"{where}.flags must be at most {MOST_FLAGS} of 1000 characters in all, none of them null"
        )
    if any("\ud800" <= character <= "\udfff" for word in words for character in word):
        raise ProblemError(f"{where}.flags holds half of a surrogate pair, which is no text")
    return tuple(words)
