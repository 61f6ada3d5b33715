"""`POST /v1/judge`: what is asked, as one candidate or as a batch, and a verdict as it is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from alpharay.judge.errors import ProblemError
from alpharay.judge.limits import Limits
from alpharay.judge.problem import Tests, check_language, parse_tests
from alpharay.judge.program import Program
from alpharay.judge.verdict import Verdict
from alpharay.serve.errors import RequestError, malformed
from alpharay.serve.sections import Judge
from alpharay.serve.spelling import did_you_mean

Json = dict[str, Any]

MOST_CANDIDATES = 1000
_OWN = ("id", "index", "tests", "completion", "program", "language", "limits")
_ONE = (*_OWN, "wait", "verdict_detail")
_BATCH = ("candidates", "tests", "language", "limits", "wait", "verdict_detail")
_LIMITS = ("time_limit_s", "memory_limit_mb")
_DETAILS = ("full", "outcome")
_LONGEST_WAIT_S = 1e9  # longer ones are as long as it takes


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCandidate:
    """One candidate to judge. id, index: repeated in its line."""

    id: str | None
    index: int
    tests: Tests
    answer: str | Program
    language: str
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRequest:
    """One request. batch: its verdicts are streamed. wait_s: what is not judged by then is told as such.

    detailed: more than the verdict is told.
    """

    candidates: tuple[JudgeCandidate, ...]
    batch: bool
    wait_s: float
    detailed: bool


def parse(body: Json, config: Judge) -> JudgeRequest:
    """Raises RequestError (400), naming the field."""
    batch = "candidates" in body
    _known(body, _BATCH if batch else _ONE, "")
    try:
        candidates = _batch(body, config) if batch else (_candidate(body, {}, config, 0, ""),)
    except ProblemError as error:
        raise malformed(str(error), param="tests") from None
    return JudgeRequest(
        candidates=candidates, batch=batch, wait_s=_wait(body), detailed=_detailed(body, config)
    )


def verdict_object(candidate: JudgeCandidate, verdict: Verdict | None, *, detailed: bool) -> Json:
    """One candidate's object; its `verdict` is null where it was not judged in time."""
    line: Json = {"id": candidate.id, "index": candidate.index}
    if verdict is None:
        return line | {"verdict": None, "detail": "it was not judged within `wait` seconds"}
    return line | (verdict.fields() if detailed else {"verdict": verdict.verdict.value})


def _batch(body: Json, config: Judge) -> tuple[JudgeCandidate, ...]:
    candidates = body["candidates"]
    if not isinstance(candidates, list) or not candidates:
        raise malformed("candidates must be a list of at least one", param="candidates")
    if len(candidates) > MOST_CANDIDATES:
        raise malformed(
            f"candidates holds {len(candidates)}, at most {MOST_CANDIDATES} are accepted in a request; send several",
            param="candidates",
        )
    # Parsed once, so that a program that is there twice is run once.
    common = {"tests": parse_tests(body["tests"])} if "tests" in body else {}
    common |= {name: body[name] for name in ("language", "limits") if name in body}
    parsed = []
    for index, candidate in enumerate(candidates):
        where = f"candidates[{index}]"
        if not isinstance(candidate, dict):
            raise malformed(f"{where} must be an object", param="candidates")
        _known(candidate, _OWN, f"{where}.")
        parsed.append(_candidate(candidate, common, config, index, f"{where}."))
    return tuple(parsed)


def _candidate(candidate: Json, common: Json, config: Judge, index: int, where: str) -> JudgeCandidate:
    language = candidate.get("language", common.get("language", "python"))
    if not isinstance(language, str):
        raise malformed(f"{where}language must be a string", param="language")
    try:
        tests = parse_tests(candidate["tests"]) if "tests" in candidate else common["tests"]
        check_language(language, tests)
    except KeyError:
        raise malformed(f"{where}tests is missing", param="tests") from None
    except ProblemError as error:
        raise malformed(f"{where}{error}", param="tests") from None
    return JudgeCandidate(
        id=_typed(candidate, "id", str, None, where),
        index=_typed(candidate, "index", int, index, where),
        tests=tests,
        answer=_answer(candidate, where),
        language=language,
        limits=_limits(candidate.get("limits", common.get("limits", {})), config, where),
    )


def _answer(candidate: Json, where: str) -> str | Program:
    fields = [name for name in ("completion", "program") if name in candidate]
    if len(fields) != 1:
        wrong = "both are given" if fields else "both are missing"
        raise malformed(
            f"{where}completion (a model's answer) or {where}program (its source) is needed, {wrong}",
            param="completion",
        )
    text = candidate[fields[0]]
    if not isinstance(text, str):
        raise malformed(f"{where}{fields[0]} must be a string", param=fields[0])
    return text if fields[0] == "completion" else Program(text, fenced=True)


def _limits(value: object, config: Judge, where: str) -> Limits:
    if not isinstance(value, dict):
        raise malformed(f"{where}limits must be an object", param="limits")
    _known(value, _LIMITS, f"{where}limits.")
    limits = {}
    for name, default in zip(_LIMITS, (config.time_limit_s, config.memory_limit_mb), strict=True):
        number = value.get(name, default)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise malformed(f"{where}limits.{name} must be a number", param="limits")
        limits[name] = number
    try:
        return Limits(cpu_s=float(limits["time_limit_s"]), memory_mb=int(limits["memory_limit_mb"]))
    except (ProblemError, OverflowError, ValueError) as error:
        raise malformed(f"{where}limits: {error}", param="limits") from None


def _wait(body: Json) -> float:
    value = body.get("wait")
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise malformed("wait must be a number of seconds above 0", param="wait")
    return min(value, _LONGEST_WAIT_S)


def _detailed(body: Json, config: Judge) -> bool:
    value = body.get("verdict_detail", config.verdict_detail)
    if value not in _DETAILS:
        raise malformed(f"verdict_detail must be one of {', '.join(_DETAILS)}", param="verdict_detail")
    # A request may ask for less than the server tells, not for more.
    return bool(value == config.verdict_detail == "full")


def _typed(candidate: Json, name: str, kind: type, default: Any, where: str) -> Any:
    value = candidate.get(name, default)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        wanted = "a string" if kind is str else "an integer"
        raise malformed(f"{where}{name} must be {wanted}", param=name)
    return default if value is None else value


def _known(value: Json, names: tuple[str, ...], where: str) -> None:
    for name in value:
        if name not in names:
            raise _unknown(f"{where}{name}", name, names)


def _unknown(path: str, name: str, names: tuple[str, ...]) -> RequestError:
    return malformed(
        f"{path[:200]} is not known{did_you_mean(name, names)}; known are {', '.join(names)}",
        param=name[:200],
    )
