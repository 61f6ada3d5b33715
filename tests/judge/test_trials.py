"""A failed trial of a compiler is no verdict on the machine for ever."""

import asyncio

import pytest

from alpharay.judge import JudgePool, VerdictKind, parse_tests
from alpharay.judge.compile import trials
from alpharay.judge.compile.trial import try_language
from alpharay.judge.errors import LanguageUnavailable, SandboxUnavailable, TrialFailed, WorkerDied
from alpharay.judge.verdict import Verdict


class Idle:
    """A sandbox that starts unless told otherwise."""

    closed = 0

    def __init__(self, fault=None):
        self._fault = fault

    async def start(self):
        if self._fault:
            raise self._fault

    def close(self):
        Idle.closed += 1


@pytest.fixture
def clock(monkeypatch):
    """What the time is, in a list of one."""
    now = [0.0]
    monkeypatch.setattr(trials, "_now", lambda: now[0])
    return now


def trying(monkeypatch, *outcomes):
    """Trials that come to these one after the other; the last stays."""
    left = list(outcomes)

    async def tried(_worker, _language):
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(trials, "try_language", tried)
    return trials.Trials(Idle)


@pytest.mark.parametrize(
    "fault", [TrialFailed("busy"), LanguageUnavailable("no g++"), RuntimeError("internal error")]
)
async def test_a_trial_that_failed_is_repeated_after_a_pause_and_what_passed_is_not(
    monkeypatch, clock, fault
):
    languages = trying(monkeypatch, fault, None, fault)
    for _ in range(2):  # the second is told the same, without another trial
        with pytest.raises(type(fault)):
            await languages.passed("cpp")
    clock[0] += trials.FIRST_PAUSE_S
    for _ in range(3):
        await languages.passed("cpp")
        clock[0] += 1e6


async def test_the_pauses_grow_while_it_fails(monkeypatch, clock):
    languages = trying(monkeypatch, TrialFailed("busy"))
    begun = 0
    for _ in range(2000):
        before = languages._trials.get("cpp")
        with pytest.raises(TrialFailed):
            await languages.passed("cpp")
        begun += languages._trials["cpp"] is not before
        clock[0] += 1.0
    assert 2000 / trials.LONGEST_PAUSE_S < begun < 20


async def test_who_asks_at_the_same_time_shares_one_trial_and_may_leave_it(monkeypatch, clock):
    assert clock
    gate, begun = asyncio.Event(), []

    async def tried(*_):
        begun.append(1)
        await gate.wait()

    monkeypatch.setattr(trials, "try_language", tried)
    languages = trials.Trials(Idle)
    asking = [asyncio.create_task(languages.passed("cpp")) for _ in range(3)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.wait({asking[0]})
    gate.set()
    await asyncio.gather(*asking[1:])
    assert len(begun) == 1


@pytest.mark.parametrize("fault", [SandboxUnavailable("no memory"), WorkerDied("killed")])
async def test_a_sandbox_that_does_not_start_says_nothing_about_the_compiler(clock, fault):
    assert clock
    with pytest.raises(TrialFailed, match=str(fault)):
        await trials.Trials(lambda: Idle(fault)).passed("cpp")


@pytest.mark.parametrize(
    ("kind", "detail", "error"),
    [
        (VerdictKind.JUDGE_ERROR, "", TrialFailed),
        (VerdictKind.TIME_LIMIT, "", TrialFailed),
        (VerdictKind.MEMORY_LIMIT, "", TrialFailed),
        (VerdictKind.COMPILE_ERROR, "the compiler took more than 20 s or 1536 MiB", TrialFailed),
        (VerdictKind.COMPILE_ERROR, "no such file: iostream", LanguageUnavailable),
        (VerdictKind.WRONG_ANSWER, "printed nothing", LanguageUnavailable),
    ],
)
async def test_what_a_busy_machine_does_to_a_trial_is_told_from_what_the_compiler_does(
    monkeypatch, kind, detail, error
):
    async def judged(*_):
        return Verdict(kind, 0, 1, detail=detail)

    monkeypatch.setattr("alpharay.judge.compile.trial.judge", judged)
    monkeypatch.setattr("alpharay.judge.compile.trial.versions", lambda _: "")
    with pytest.raises(error):
        await try_language(Idle(), "cpp")


async def test_a_lane_that_fails_answers_its_candidate_and_goes_on(monkeypatch):
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "1"}]})
    async with JudgePool(workers=1) as pool:
        attempts, calls = pool._attempts, []

        async def attempts_badly(*arguments):
            calls.append(1)
            if len(calls) == 1:
                raise SystemError("odd")
            return await attempts(*arguments)

        monkeypatch.setattr(pool, "_attempts", attempts_badly)
        first = await pool.judge(tests, "```python\nprint(1)\n```")
        assert first.verdict is VerdictKind.JUDGE_ERROR
        assert (await pool.judge(tests, "```python\nprint(1)\n```")).accepted
        assert pool.failures == {"judge lane": 1}
