"""The seams to Ray: what crosses them is classified, and nothing waits for a replica that is known to be gone."""

from __future__ import annotations

import asyncio
import pickle
import tracemalloc
from contextlib import asynccontextmanager

import pytest

from alpharay.judge import LanguageUnavailable, Limits, Verdict, VerdictKind, parse_tests
from alpharay.serve.dialects.api_request import EngineBody
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.clients import JudgeUnavailable, RayEngines, RayJudging, SampleLost
from alpharay.serve.transport.link import Listener
from alpharay.serve.transport.shared_tests import KnownTests, SentTests

from .fakes import ReplicaHandle, until


class Replica:
    """Answers as a test wants it. answers: what its calls come to, an exception, a value, or parts; none: nothing."""

    def __init__(self, *answers):
        self.answers, self.calls, self.ended = list(answers), [], 0

    async def _answer(self, *arguments):
        self.calls.append(arguments)
        try:
            if not self.answers:
                await asyncio.Event().wait()
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self.ended += 1

    sample = judge = ready_for = _answer

    async def stream(self, *arguments):
        for part in await self._answer(*arguments):
            if isinstance(part, Exception):
                raise part
            yield part


@asynccontextmanager
async def connected(replica):
    """A listener, and the handle of that replica."""
    listener, handle = Listener(), ReplicaHandle(replica, "sample", "stream", "judge", "ready_for")
    await listener.listen("127.0.0.1")
    try:
        yield listener, handle
    finally:
        handle.server.close()
        await listener.close()


@asynccontextmanager
async def engines(replica, *, is_down=lambda _: False):
    async with connected(replica) as (listener, handle):
        yield RayEngines({"m": handle}, is_down, listener)


@asynccontextmanager
async def judging(replica, *, is_down=lambda: False):
    async with connected(replica) as (listener, handle):
        yield RayJudging(handle, is_down, listener)


BODY = EngineBody("{}", {})


async def sample(link):
    return await link.sample("m", "/", BODY, {})


def stream(link):
    return link.stream("m", "/", BODY, {})


TESTS = parse_tests({"kind": "stdio", "cases": [{"input": "1", "output": "1"}]})


async def judge(link):
    return await link.judge(TESTS, "", Limits(), "python", "r")


@pytest.mark.parametrize("status", [200, 400, 404, 501])
async def test_an_answer_of_the_engine_comes_back_as_it_is(status):
    reply = Reply(status, "application/json", b"{}")
    async with engines(Replica(reply)) as link:
        assert await sample(link) == reply


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_engine_in_trouble_loses_the_sample(status):
    async with engines(Replica(Reply(status, "application/json", b"{}"))) as link:
        with pytest.raises(SampleLost, match=str(status)):
            await sample(link)


async def test_a_replica_that_fails_loses_the_sample():
    async with engines(Replica(ConnectionError("it died"))) as link:
        with pytest.raises(SampleLost, match="it died"):
            await sample(link)


async def test_a_member_that_is_known_to_be_down_is_not_even_called():
    replica = Replica()
    async with engines(replica, is_down=lambda _: True) as link:
        with pytest.raises(SampleLost):
            await sample(link)
        with pytest.raises(SampleLost):
            await anext(stream(link))
    assert not replica.calls


async def test_a_call_ends_when_its_member_becomes_known_to_be_down():
    """Ray itself would wait for a new replica as long as it takes."""
    looks, replica = iter([False, False, True]), Replica()
    async with engines(replica, is_down=lambda _: next(looks)) as link:
        with pytest.raises(SampleLost):
            await sample(link)
        await until(lambda: replica.ended)


async def test_a_stream_ends_when_its_member_becomes_known_to_be_down():
    looks, replica = iter([False, True]), Replica()
    async with engines(replica, is_down=lambda _: next(looks)) as link:
        with pytest.raises(SampleLost):
            await anext(stream(link))
        await until(lambda: replica.ended)


async def test_a_streams_status_comes_before_its_bytes():
    async with engines(Replica([(200, "text/event-stream"), b"a", b"b"])) as link:
        first, *parts = [item async for item in stream(link)]
    assert first == (200, "text/event-stream")
    assert b"".join(parts) == b"ab"


async def test_a_host_that_fails_amid_a_stream_loses_the_sample():
    replica = Replica([(200, "text/event-stream"), b"half", RuntimeError("the engine died")])
    async with engines(replica) as link:
        parts = stream(link)
        assert await anext(parts) == (200, "text/event-stream")
        with pytest.raises(SampleLost, match="the engine died"):
            _ = [part async for part in parts]


async def test_an_engine_in_trouble_loses_the_stream_before_anything_is_sent():
    async with engines(Replica([(503, "application/json")])) as link:
        with pytest.raises(SampleLost, match="503"):
            await anext(stream(link))


async def test_a_caller_that_is_cancelled_cancels_the_call():
    replica = Replica()
    async with engines(replica) as link:
        task = asyncio.create_task(sample(link))
        await until(lambda: replica.calls)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: replica.ended)


async def test_who_leaves_a_stream_cancels_it():
    replica = Replica([(200, "text/event-stream"), b"a"], *[])
    async with engines(replica) as link:
        parts = stream(link)
        await anext(parts)
        await parts.aclose()
        await until(lambda: replica.ended)


async def test_a_verdict_comes_back_as_it_is():
    verdict = Verdict(VerdictKind.ACCEPTED, 1, 1)
    async with judging(Replica(verdict)) as link:
        assert await judge(link) == verdict


class ForgetfulJudge:
    """Records its calls, forgets its tests on demand."""

    def __init__(self):
        self.known, self.calls = KnownTests(), []

    async def judge(self, key, tests, completion, *_):
        self.calls.append(tests)
        known = self.known.get(key, tests)
        return known and Verdict(VerdictKind.ACCEPTED, 1, 1, detail=completion)

    async def ready_for(self, *_):
        raise LanguageUnavailable("g++ is missing")


async def test_tests_are_sent_once_and_again_to_a_judge_that_does_not_have_them():
    replica = ForgetfulJudge()
    async with judging(replica) as link:
        for number in range(3):
            assert (await link.judge(TESTS, str(number), Limits(), "python", "r")).detail == str(number)
        assert replica.calls == [TESTS, None, None]
        replica.known = KnownTests()  # it was replaced
        assert (await link.observe(TESTS, "later", Limits(), "python", "r")).detail == "later"
        assert replica.calls[3:] == [None, TESTS]


async def test_what_a_language_lacks_is_told_as_it_is():
    async with judging(ForgetfulJudge()) as link:
        with pytest.raises(LanguageUnavailable, match="g\\+\\+ is missing"):
            await link.ready_for("cpp", TESTS)


def test_a_judge_keeps_one_object_per_content_and_forgets_the_least_used():
    kept, (first, same, other) = (
        KnownTests(most_bytes=3000),
        (case_of(text) for text in ("a", "a", "b" * 200)),
    )
    sent = SentTests()
    assert sent.key(first) == sent.key(same) != sent.key(other)
    assert kept.get(sent.key(first), first) is kept.get(sent.key(same), same) is first
    assert kept.get(sent.key(other), other) is other
    assert kept.get(sent.key(first), None) is None, "there was room for one"


MANY_SMALL = [
    {"kind": "stdio", "cases": [{"input": "1", "output": "2"}]},
    {"kind": "stdio", "cases": [{"input": f"{n}", "output": f"{n}"} for n in range(200)]},
    {"kind": "call", "entry_point": "f", "cases": [{"args": [[[], {}] * 200], "output": None}]},
    {
        "kind": "call",
        "entry_point": "f",
        "cases": [{"args": [{f"{n}": n / 7} for n in range(300)], "output": []}],
    },
    {"kind": "call", "entry_point": "f", "cases": [{"args": ["ü" * 5000], "output": "字" * 5000}]},
    {"kind": "code", "code": "assert True\n" * 100},
]


@pytest.mark.parametrize("tests", MANY_SMALL, ids=["small", "cases", "empties", "numbers", "letters", "code"])
def test_what_a_judge_keeps_of_tests_is_bounded_by_the_memory_that_it_takes(tests):
    kept, packed = KnownTests(most_bytes=1 << 18), pickle.dumps(parse_tests(tests))
    tracemalloc.start()
    for number in range(200):
        known = kept.get(f"{number:064}", pickle.loads(packed))
        _ = [getattr(known, name, None) for name in ("python_cases", "expected")]  # what judging them adds
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 1.5 * (1 << 18)
    assert kept.get(f"{199:064}", None)


def test_tests_that_were_judged_have_the_key_of_those_that_were_not():
    new, judged = (parse_tests(MANY_SMALL[2]) for _ in range(2))
    assert judged.python_cases
    assert judged.expected == ("null",)
    assert SentTests().key(judged) == SentTests().key(new)


def case_of(text):
    return parse_tests({"kind": "stdio", "cases": [{"input": text, "output": text}]})


async def test_a_judge_that_dies_or_is_known_to_be_down_is_unavailable():
    async with judging(Replica(ConnectionError())) as link:
        with pytest.raises(JudgeUnavailable):
            await judge(link)
    async with judging(Replica(), is_down=lambda: True) as link:
        with pytest.raises(JudgeUnavailable):
            await judge(link)
    looks, replica = iter([False, True]), Replica()
    async with judging(replica, is_down=lambda: next(looks)) as link:
        with pytest.raises(JudgeUnavailable):
            await judge(link)
        await until(lambda: replica.ended)
