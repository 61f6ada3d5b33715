"""The seams to Ray: what crosses them is classified, and nothing waits for a replica that is known to be gone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from alpharay.judge import Limits, Verdict, VerdictKind
from alpharay.serve.asgi import Reply
from alpharay.serve.links import JudgeUnavailable, RayEngines, RayJudging, SampleLost


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
    return RayEngines({"m": handle}, is_down)


def judging(response, *, is_down=lambda: False):
    return RayJudging(SimpleNamespace(judge=SimpleNamespace(remote=lambda *_: response)), is_down)


async def sample(link):
    return await link.sample("m", "/", b"{}", {})


async def judge(link):
    return await link.judge(None, "", Limits(), "python", "r")


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


async def test_a_judge_that_dies_or_is_known_to_be_down_is_unavailable():
    with pytest.raises(JudgeUnavailable):
        await judge(judging(Response(ConnectionError())))
    with pytest.raises(JudgeUnavailable):
        await judge(judging(Response(), is_down=lambda: True))
    looks, response = iter([False, True]), Response()
    with pytest.raises(JudgeUnavailable):
        await judge(judging(response, is_down=lambda: next(looks)))
    assert response.cancelled
