"""A test program and a candidate in one process, for tests that cannot reach the candidate from another one.

The candidate can then see and patch its tests. What is left to hold against it: that the tests ended well is
told by a nonce that is read only after the last of them, so that leaving early, by whatever way, passes nothing.
"""

import json
import os

from alpharay.judge.inside import candidate

PASSED, WRONG, ERROR, BROKEN_TESTS = "P", "W", "E", "B"
TESTS_NAME = "tests.py"


NONCE = 4  # the descriptor from which the proof of success can be read


def run_tests(source: bytes, tests: bytes, entry_point: str) -> int:
    """Returns the exit code."""
    codes = candidate.compiled(source)
    if codes is None:
        os.write(candidate.REPORT, candidate.UNPARSABLE)
        return 1
    os.write(candidate.REPORT, candidate.READY)
    try:
        test_code = compile(tests, TESTS_NAME, "exec", dont_inherit=True)
    except BaseException as error:
        report(BROKEN_TESTS, f"{type(error).__name__}: {error}")
        return 1
    space = candidate.candidate_module(codes, entry_point)
    tell = report
    try:
        candidate.execute(codes, space)
        exec(test_code, space)  # noqa: S102
        if entry_point and callable(space.get("check")):
            space["check"](candidate.find(space, entry_point))
    except BaseException as error:
        tell(*describe(error))
        return 1
    tell(PASSED, os.read(NONCE, 64).decode())
    return 0


def describe(error: BaseException) -> tuple[str, str]:
    """Whether the tests found it wrong or the candidate failed, without a word of the tests' own text."""
    frames: list[tuple[str, int]] = []
    trace = error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    last = frames[-1][0] if frames else ""
    line = next((number for name, number in reversed(frames) if name == TESTS_NAME), 0)
    if isinstance(error, AssertionError) and last == TESTS_NAME:
        return WRONG, f"an assertion of the tests failed (line {line} of the tests)"
    if last == TESTS_NAME:
        return ERROR, f"{type(error).__name__} in the tests (line {line} of the tests)"
    return ERROR, candidate.describe(error)


def report(kind: str, text: str) -> None:
    os.write(candidate.REPORT, (kind + json.dumps(text[:2000]) + "\n").encode("ascii"))
