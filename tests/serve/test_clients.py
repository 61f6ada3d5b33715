"""The seams to Ray: what crosses them is classified, and nothing waits for a replica that is known to be gone."""

from __future__ import annotations

import asyncio
import pickle
import tracemalloc
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from alpharay.judge import LanguageUnavailable, Limits, Verdict, VerdictKind, parse_tests
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.clients import JudgeUnavailable, RayEngines, RayJudging, SampleLost
from alpharay.serve.transport.shared_tests import KnownTests, SentTests
from alpharay.serve.transport.stream_transport import StreamListener, StreamSenders


class Response:
    """A Ray response: its result when it is set, and whether it was cancelled over there."""

    def __init__(self, result=None):
        self.result = asyncio.get_running_loop().create_future()
        self.cancelled = False
        if isinstance(result, Exception):
            self.result.set_exception(result)
        elif result is not None:
            self.result.set_result(result)

    def __await__(self):
        return self.result.__await__()

    def __aiter__(self):
        return self

    async def __anext__(self):
        return await asyncio.shield(self.result)

    def cancel(self):
        self.cancelled = True


def engines(response, *, is_down=lambda _: False):
    method = SimpleNamespace(remote=lambda *_: response)
    handle = SimpleNamespace(sample=method, stream=method)
    handle.options = lambda **_: handle
    return RayEngines({"m": handle}, is_down, StreamListener())


@asynccontextmanager
async def streaming(host):
    """The link to a member whose host streams as `host(outlet, stream id)` does, an async generator."""
    listener, senders = StreamListener(), StreamSenders()
    await listener.listen("127.0.0.1")

    class Stream:
        def __init__(self, *arguments):
            self.items = host(senders, arguments[-1])

        def __aiter__(self):
            return self

        async def __anext__(self):
            return await anext(self.items)

        def cancel(self):
            pass

    handle = SimpleNamespace(stream=SimpleNamespace(remote=Stream))
    handle.options = lambda **_: handle
    try:
        yield RayEngines({"m": handle}, lambda _: False, listener)
    finally:
        senders.close()
        await listener.close()


def judging(response, *, is_down=lambda: False):
    return RayJudging(SimpleNamespace(judge=SimpleNamespace(remote=lambda *_: response)), is_down)


async def sample(link):
    return await link.sample("m", "/", b"{}", {})


TESTS = parse_tests({"kind": "stdio", "cases": [{"input": "1", "output": "1"}]})


async def judge(link):
    return await link.judge(TESTS, "", Limits(), "python", "r")


@pytest.mark.parametrize("status", [200, 400, 404, 501])
async def test_an_answer_of_the_engine_comes_back_as_it_is(status):
    reply = Reply(status, "application/json", b"{}")
    assert await sample(engines(Response(reply))) == reply


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_engine_in_trouble_loses_the_sample(status):
    with pytest.raises(SampleLost, match=str(status)):
        await sample(engines(Response(Reply(status, "application/json", b"{}"))))


async def test_a_replica_that_dies_loses_the_sample():
    with pytest.raises(SampleLost, match="died"):
        await sample(engines(Response(ConnectionError("it died"))))


async def test_a_member_that_is_known_to_be_down_is_not_even_called():
    link = engines(Response(), is_down=lambda _: True)
    with pytest.raises(SampleLost):
        await sample(link)
    with pytest.raises(SampleLost):
        await anext(link.stream("m", "/", b"{}", {}))


async def test_a_call_ends_when_its_member_becomes_known_to_be_down():
    """Ray itself would wait for a new replica as long as it takes."""
    looks, response = iter([False, False, True]), Response()
    with pytest.raises(SampleLost):
        await sample(engines(response, is_down=lambda _: next(looks)))
    assert response.cancelled


async def test_a_stream_ends_when_its_member_becomes_known_to_be_down():
    looks, response = iter([False, True]), Response()
    with pytest.raises(SampleLost):
        await anext(engines(response, is_down=lambda _: next(looks)).stream("m", "/", b"{}", {}))
    assert response.cancelled


async def test_a_streams_status_comes_by_the_call_and_its_bytes_by_the_trunk():
    async def host(senders, stream_id):
        sender = await senders.to(stream_id)
        yield 200, "text/event-stream"
        for part in (b"a", b"b", b""):
            sender.send(stream_id.number, part)

    async with streaming(host) as link:
        first, *parts = [item async for item in link.stream("m", "/", b"{}", {})]
    assert first == (200, "text/event-stream")
    assert b"".join(parts) == b"ab"


async def test_a_host_that_fails_amid_a_stream_loses_the_sample():
    async def host(senders, stream_id):
        (await senders.to(stream_id)).send(stream_id.number, b"half")
        yield 200, "text/event-stream"
        raise RuntimeError("the engine died")

    async with streaming(host) as link:
        parts = link.stream("m", "/", b"{}", {})
        assert await anext(parts) == (200, "text/event-stream")
        with pytest.raises(SampleLost, match="the engine died"):
            _ = [part async for part in parts]


async def test_an_engine_in_trouble_loses_the_stream_before_anything_is_sent():
    async def host(_senders, _berth):
        yield 503, "application/json"

    async with streaming(host) as link:
        with pytest.raises(SampleLost, match="503"):
            await anext(link.stream("m", "/", b"{}", {}))


async def test_a_caller_that_is_cancelled_cancels_the_call():
    response = Response()
    task = asyncio.create_task(sample(engines(response)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert response.cancelled


async def test_a_finished_call_is_not_cancelled():
    response = Response(Reply(200, "", b""))
    await sample(engines(response))
    assert not response.cancelled


async def test_a_verdict_comes_back_as_it_is():
    verdict = Verdict(VerdictKind.ACCEPTED, 1, 1)
    assert await judge(judging(Response(verdict))) == verdict


class Replica:
    """A judge as Ray calls it: keeps what it was asked, forgets its tests on demand."""

    def __init__(self):
        self.known, self.calls = KnownTests(), []
        self.judge = SimpleNamespace(remote=self._judge)
        self.ready_for = SimpleNamespace(remote=self._ready_for)

    def _judge(self, key, tests, completion, *_):
        self.calls.append(tests)
        known = self.known.get(key, tests)
        response = Response()
        response.result.set_result(known and Verdict(VerdictKind.ACCEPTED, 1, 1, detail=completion))
        return response

    def _ready_for(self, *_):
        return Response(LanguageUnavailable("g++ is missing"))


async def test_tests_are_sent_once_and_again_to_a_judge_that_does_not_have_them():
    replica = Replica()
    link = RayJudging(replica, lambda: False)
    for number in range(3):
        assert (await link.judge(TESTS, str(number), Limits(), "python", "r")).detail == str(number)
    assert replica.calls == [TESTS, None, None]
    replica.known = KnownTests()  # it was replaced
    assert (await link.observe(TESTS, "later", Limits(), "python", "r")).detail == "later"
    assert replica.calls[3:] == [None, TESTS]


async def test_what_a_language_lacks_is_told_as_it_is():
    with pytest.raises(LanguageUnavailable, match="g\\+\\+ is missing"):
        await RayJudging(Replica(), lambda: False).ready_for("cpp", TESTS)


def test_a_judge_keeps_one_object_per_content_and_forgets_the_least_used():
    kept, (one, same, other) = KnownTests(most_bytes=3000), (case_of(text) for text in ("a", "a", "b" * 200))
    sent = SentTests()
    assert sent.key(one) == sent.key(same) != sent.key(other)
    assert kept.get(sent.key(one), one) is kept.get(sent.key(same), same) is one
    assert kept.get(sent.key(other), other) is other
    assert kept.get(sent.key(one), None) is None, "there was room for one"


MANY_SMALL = [
    {"kind": "stdio", "cases": [{"input": "1", "output": "2"}]},
    {"kind": "stdio", "cases": [{"input": f"{n}", "output": f"{n}"} for n in range(200)]},
    {"kind": "call", "entry_point": "f", "cases": [{"args": [[[], {}] * 200], "output": None}]},
    {
        "kind": "call",
        "entry_point": "f",
        "cases": [{"args": [{f"{n}": n / 7} for n in range(300)], "output": []}],
    },
    {"kind": "code", "code": "assert True\n" * 100},
]


@pytest.mark.parametrize("tests", MANY_SMALL, ids=["small", "cases", "empties", "numbers", "code"])
def test_what_a_judge_keeps_of_tests_is_bounded_by_the_memory_that_it_takes(tests):
    kept, packed = KnownTests(most_bytes=1 << 18), pickle.dumps(parse_tests(tests))
    tracemalloc.start()
    for number in range(200):
        kept.get(f"{number:064}", pickle.loads(packed))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 1.5 * (1 << 18)
    assert kept.get(f"{199:064}", None)


def case_of(text):
    return parse_tests({"kind": "stdio", "cases": [{"input": text, "output": text}]})


async def test_a_judge_that_dies_or_is_known_to_be_down_is_unavailable():
    with pytest.raises(JudgeUnavailable):
        await judge(judging(Response(ConnectionError())))
    with pytest.raises(JudgeUnavailable):
        await judge(judging(Response(), is_down=lambda: True))
    looks, response = iter([False, True]), Response()
    with pytest.raises(JudgeUnavailable):
        await judge(judging(response, is_down=lambda: next(looks)))
    assert response.cancelled
