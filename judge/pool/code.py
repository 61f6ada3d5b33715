"""Tests of kind `code`: a test program decides, in a process of its own or, where it cannot do without, the candidate's."""

import secrets
import signal
from dataclasses import replace

from alpharay.judge.pool.checking import encoded
from alpharay.judge.pool.job import Job, again_near_the_limit, preamble_of
from alpharay.judge.pool.tally import Tally
from alpharay.judge.problem import CodeTests
from alpharay.judge.sandbox.order import Ended, Order, Runner
from alpharay.judge.verdict import VerdictKind
from alpharay.judge.verdicts import Failure, JudgeFault, failure_of, message_in


async def run_code(runner: Runner, job: Job, tests: CodeTests, source: bytes, tally: Tally) -> None:
    """The tests in a process of their own, or in the candidate's where they cannot do without."""
    nonce = secrets.token_hex(16)
    order = Order(
        mode="apart",
        program=source,
        preamble=preamble_of(tests),
        input=encoded(tests.code),
        limits=job.limits,
        entry=tests.entry_point or "",
    )
    ended = await runner.run(order)
    kind, message = _first_answer(ended)
    if kind == b"N":
        tally.note = f"the tests ran in the candidate's own process: {message}"
        order = replace(order, mode="together", nonce=nonce.encode())
        ended = await runner.run(order)
    ended = await again_near_the_limit(runner, order, ended, ended.cpu_s)
    kind, message = _first_answer(ended)
    tally.ran(ended, ended.cpu_s)
    if kind == b"B" and order.mode == "apart":  # which was run first: afterwards only a candidate says so
        raise JudgeFault(message)
    # A number or a mass of values that it answered may be what the tests are at work on, and is then its own.
    received_bulk = order.mode == "apart" and ended.answers.startswith(b"V")
    if ended.ended == "tests" and not received_bulk:
        raise JudgeFault("the test program itself used up its CPU time")
    passed = kind == b"P" and (order.mode == "apart" or message == nonce)
    if passed and order.mode == "apart":
        ended = replace(ended, code=0)  # it was still waiting for questions when it was stopped
    failure = failure_of(ended, ended.cpu_s, job.limits)
    if passed and failure is None:
        tally.passed()
        return
    if failure is None or failure.kind is VerdictKind.RUNTIME_ERROR:
        if ended.ended == "tests" or ended.tests == -signal.SIGPROF:
            message = "what it answered kept its tests busy for longer than they may be"
            failure = Failure(VerdictKind.TIME_LIMIT, message)
        elif kind == b"W":
            failure = Failure(VerdictKind.WRONG_ANSWER, message)
        elif kind == b"E" and not (failure and ended.code > 0):
            failure = Failure.by_error(message)
        else:
            failure = failure or Failure(VerdictKind.RUNTIME_ERROR, "the program ended before its tests did")
    tally.failed(0, failure)


def _first_answer(ended: Ended) -> tuple[bytes, str]:
    answer = next((line for line in ended.answers.split(b"\n") if not line.startswith(b"V")), b"")
    return answer[:1], message_in(answer[1:].decode("utf-8", "replace"))
