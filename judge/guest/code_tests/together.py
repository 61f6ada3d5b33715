"""A test program and a candidate in one process, for tests that cannot reach the candidate from another one.

The candidate can then see and patch its tests. What is left to hold against it: that the tests ended well is
proved by a nonce that is read only after the last of them, so that leaving early, by whatever way, passes nothing.
"""

import json
import os

from alpharay.judge.guest import candidate
from alpharay.judge.guest.code_tests import runner

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
    report_result, run_all = report, runner.run_all
    try:
        candidate.execute(codes, space)
        before = set(space)
        exec(test_code, space)  # noqa: S102
        call = None
        if entry_point and callable(space.get("check")):
            call = lambda: space["check"](candidate.find(space, entry_point))  # noqa: E731
        # Bare assertions have been run by now. A candidate's own test classes are none of the tests.
        run_all({name: space[name] for name in space if name not in before}, "candidate", call, ran=True)
        if call is None:
            for function in runner.pytest_functions(
                {n: v for n, v in space.items() if n not in before}, "candidate"
            ):
                function()
    except BaseException as error:
        report_result(*describe(error))
        return 1
    report_result(PASSED, os.read(NONCE, 64).decode())
    return 0


def describe(error: BaseException) -> tuple[str, str]:
    """Whether the tests found it wrong or the candidate failed, without a word of the tests' own text.

    What an error says is reported only where the candidate's own code raised it, or what that called: a library that the tests
    call, such as `unittest`, quotes what they expect.
    """
    whose, line = "", 0
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name in (TESTS_NAME, candidate.FILE_NAME):
            whose = name
            line = trace.tb_lineno if name == TESTS_NAME else line
        trace = trace.tb_next
    if whose == candidate.FILE_NAME:
        return ERROR, candidate.describe(error)
    where = f" (line {line} of the tests)" if line else ""
    if isinstance(error, AssertionError):
        return WRONG, f"an assertion of the tests failed{where}"
    return ERROR, f"{type(error).__name__} in the tests{where}"


def report(kind: str, text: str) -> None:
    os.write(candidate.REPORT, (kind + json.dumps(text[:2000]) + "\n").encode("ascii"))
