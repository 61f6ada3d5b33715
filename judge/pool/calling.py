"""Tests of kind `call`: one function, case by case in one process; what it returns is compared outside."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

from alpharay.judge import compare
from alpharay.judge.compile.compiling import Binary
from alpharay.judge.guest.scratch import PROGRAMS
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.pool.job import Job, again_near_the_limit, preamble_of, started, with_room
from alpharay.judge.pool.patience import Patience
from alpharay.judge.pool.tally import Tally
from alpharay.judge.problem import CallCase, CallTests
from alpharay.judge.sandbox.order import Ended, Order, Runner
from alpharay.judge.sandbox.toolchains.tools import FOLDER
from alpharay.judge.verdict import VerdictKind
from alpharay.judge.verdicts import Failure, JudgeFault, failure_of, message_in

# Integers from here on are no exact numbers of JavaScript's, and are given to it as BigInt.
_UNSAFE = 1 << 53
# In JSON: a number that JavaScript's has not, or so many digits.
_PERHAPS_SPECIAL = re.compile(r"NaN|Infinity|\d{16}")


async def run_calls(
    runner: Runner, job: Job, tests: CallTests, source: bytes, binary: Binary | None, tally: Tally
) -> None:
    """Adds each case to the tally. binary: the program for its language's runtime; None: it is Python.

    Raises JudgeFault, RunRefused and WorkerDied.
    """
    limits = with_room(started(job), tests.expected_length)
    order = Order(
        mode="call",
        program=source if binary is None else b"",
        preamble=preamble_of(tests),
        input=tests.python_cases if binary is None else b"".join(map(_javascript_case, tests.cases)),
        limits=limits,
        entry=tests.entry_point,
    )
    callable_binary = None if binary is None else binary.followed_by(binary.caller.ending)
    start, patience = 0, Patience(limits)
    while start < len(tests.cases):
        order = replace(order, start=start, guard_s=patience.guard_s)
        if callable_binary is not None:
            order = _in_runtime(order, callable_binary, job)
        ended = await runner.run(order)
        patience.ran(ended)
        costs = _costs(ended)
        ended = await again_near_the_limit(runner, order, ended, max(costs, default=0.0))
        costs = _costs(ended)
        tally.ran(ended, max(costs, default=0.0))
        answers = ended.answers.split(b"\n")[:-1][: len(tests.cases) - start]
        for case, answer, cost in zip(range(start, len(tests.cases)), answers, costs, strict=False):
            if job.observe:
                failure = _slow(cost, limits) or (
                    None if answer[:1] in b"VH" else Failure.by_error("no value")
                )
            else:
                failure = _slow(cost, limits) or _unlike(answer, case, tests, job.language)
            if failure is None and job.observe:
                tally.saw(case, answer)
            elif failure is None:
                tally.passed()
            else:
                tally.failed(case, failure)
        start += len(answers)
        failure = failure_of(ended, costs[-1], limits)
        if callable_binary is not None and failure is not None and _came_to_nothing(ended, failure):
            raise JudgeFault(
                f"the runtime of {job.language} ended before it read the program: {failure.detail}"
            )
        if failure is None and start < len(tests.cases):
            failure = Failure(VerdictKind.RUNTIME_ERROR, "the program ended before it answered")
        if failure is None:
            return
        if start < len(tests.cases):
            tally.failed(start, failure)
        # All cases were answered: a program that then hangs or dies has still answered, unless it used too much.
        elif failure.kind in (VerdictKind.MEMORY_LIMIT, VerdictKind.OUTPUT_LIMIT):
            tally.failed(start - 1, failure)
        # A program that dies while it is loaded would die again for every case.
        continues = failure.kind is VerdictKind.RUNTIME_ERROR or (job.every_case and not job.observe)
        if "R" not in ended.phase or not continues or patience.over:
            return
        start += 1


def _in_runtime(order: Order, binary: Binary, job: Job) -> Order:
    """With the command line that calls the function, and the program that does so beside the candidate's."""
    caller = binary.caller
    launch = binary.launch(job.limits, caller.file)
    return replace(
        order,
        binary=binary.descriptor,
        language=binary.language,
        file=binary.file,
        files=((f"{PROGRAMS}/{caller.file}", caller.text.encode()),),
        launch=(*launch, f"{FOLDER}/{binary.file}", order.entry, str(order.start)),
    )


def _came_to_nothing(ended: Ended, failure: Failure) -> bool:
    """Whether the runtime ended by itself before what calls the function ran, of which it reports first of all."""
    return ended.phase.endswith("L") and ended.ended == "exit" and failure.kind is VerdictKind.RUNTIME_ERROR


def _javascript_case(case: CallCase) -> bytes:
    """[arguments, [[path, text], …]]: beside the arguments, those values in them that JavaScript's JSON cannot hold."""
    text = json.dumps(case.args)
    if not _PERHAPS_SPECIAL.search(text):
        return f"[{text},[]]\n".encode()
    special: list[tuple[list[str | int], str]] = []
    plain = _without_special(list(case.args), [], special)
    return json.dumps([plain, special]).encode() + b"\n"


def _without_special(value: Any, path: list[str | int], special: list[tuple[list[str | int], str]]) -> Any:
    """special: takes those values, by the path to each."""
    if isinstance(value, dict):
        return {key: _without_special(item, [*path, key], special) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_special(item, [*path, index], special) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        special.append((path, "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"))
        return None
    if isinstance(value, int) and not -_UNSAFE < value < _UNSAFE:
        with compare.any_digits():
            special.append((path, str(value)))
        return None
    return value


def _costs(ended: Ended) -> list[float]:
    """CPU seconds of each answered case, and of what came after the last answer."""
    times = [0.0, *ended.marks, max(ended.cpu_s, *ended.marks, 0.0)]
    return [after - before for before, after in pairwise(times)]


def _slow(cpu_s: float, limits: Limits) -> Failure | None:
    if cpu_s <= limits.cpu_s:
        return None
    return Failure(VerdictKind.TIME_LIMIT, f"{cpu_s:.2f} s of CPU time, the limit is {limits.cpu_s:g} s")


def _unlike(answer: bytes, number: int, tests: CallTests, language: str) -> Failure | None:
    """number: of the case, from 0."""
    kind, text = answer[:1], answer[1:].decode("utf-8", "replace")
    if kind == b"V" and text == tests.expected[number]:
        return None
    expected, tolerance, strict = tests.cases[number].output, tests.float_tolerance, tests.strict_types
    one_number = LANGUAGES[language].one_number
    if kind == b"V":
        if compare.same_value(expected, text, tolerance, strict_types=strict, one_number=one_number):
            return None
        return Failure(VerdictKind.WRONG_ANSWER, f"returned {text[:200]}{' …' if len(text) > 200 else ''}")
    if kind == b"H":
        if compare.same_wide_value(expected, text, tolerance, strict_types=strict, one_number=one_number):
            return None
        return Failure(VerdictKind.WRONG_ANSWER, "returned a value with very large integers")
    message = message_in(text)
    if kind == b"N":
        return Failure(VerdictKind.WRONG_ANSWER, f"returned what is no JSON value: {message}")
    return Failure.by_error(message)
