"""Calls share a channel to a replica, and channels a connection; each call gets its own answer or an error, whatever happens."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest

from alpharay.judge import LanguageUnavailable
from alpharay.serve.transport import channel
from alpharay.serve.transport.channel import Channels
from alpharay.serve.transport.link import Links, Listener

from .fakes import ReplicaHandle, until

SOON = 5


class Strange(Exception):
    def __init__(self, *, needed):
        super().__init__(needed)


class OfTheReplica(Exception):
    """Whose module an ingress may not have, or be slow to load."""


REQUEST = ContextVar("request", default="none")


class Target:
    """under_way: calls that have begun and not ended."""

    def __init__(self):
        self.under_way, self.go_on = 0, asyncio.Event()

    async def echo(self, value):
        return value

    async def wait(self, value):
        self.under_way += 1
        try:
            await self.go_on.wait()
        finally:
            self.under_way -= 1
        return value

    async def fail(self, error):
        raise error

    async def fail_strangely(self):
        raise Strange(needed="the disk is full")

    async def fail_of_its_own(self):
        raise OfTheReplica("it is full")

    async def be_cancelled(self):
        await asyncio.get_running_loop().create_task(self._cancelled())

    async def _cancelled(self):
        raise asyncio.CancelledError

    async def whose(self):
        return REQUEST.get()

    async def give_a_lock(self):
        return asyncio.get_running_loop()

    async def count(self, number, size):
        for each in range(number):
            yield bytes([each]) * size
            await asyncio.sleep(0)

    async def begin(self):
        self.under_way += 1
        try:
            yield b"first"
            await self.go_on.wait()
        finally:
            self.under_way -= 1


METHODS = (
    *("echo", "wait", "fail", "fail_strangely", "fail_of_its_own", "be_cancelled", "whose"),
    *("give_a_lock", "count", "begin"),
)


@asynccontextmanager
async def replica(at_most=None):
    """(channels, the handle, the object behind it)"""
    listener, target = Listener(), Target()
    handle = ReplicaHandle(target, *METHODS)
    await listener.listen("127.0.0.1")
    try:
        async with asyncio.timeout(SOON):
            yield Channels(handle, listener, at_most), handle, target
    finally:
        handle.server.close()
        await listener.close()


async def test_many_calls_at_once_are_one_call_of_rays_and_each_gets_its_answer():
    async with replica() as (channels, handle, _):
        answers = await asyncio.gather(*(channels.call("echo", number).result() for number in range(200)))
    assert answers == list(range(200))
    assert len(handle.opened) == 1


async def test_a_channel_takes_calls_until_it_retires_and_then_the_next_one_does(monkeypatch):
    monkeypatch.setattr(channel, "OPEN_S", 0.05)
    async with replica() as (channels, handle, target):
        first = asyncio.ensure_future(channels.call("wait", 1).result())
        await until(lambda: target.under_way)
        await asyncio.sleep(0.1)
        second = asyncio.ensure_future(channels.call("wait", 2).result())
        await until(lambda: target.under_way == 2)
        assert len(handle.opened) == 2
        target.go_on.set()
        assert [await first, await second] == [1, 2]
        await until(lambda: all(each.done() for each in handle.opened))
        assert [each.exception() for each in handle.opened] == [None, None]


async def test_a_channel_has_at_most_so_many_calls_and_the_emptiest_gets_the_next():
    async with replica(at_most=2) as (channels, handle, target):
        calls = [asyncio.ensure_future(channels.call("wait", number).result()) for number in range(5)]
        await until(lambda: target.under_way == 5)
        assert len(handle.opened) == 3
        target.go_on.set()
        assert await asyncio.gather(*calls) == list(range(5))


async def test_where_ray_is_to_count_every_call_each_has_a_channel_that_ends_with_it():
    async with replica(at_most=1) as (channels, handle, _):
        for number in range(3):
            assert await channels.call("echo", number).result() == number
            await until(handle.opened[-1].done)
        assert len(handle.opened) == 3


async def test_a_cancelled_call_ends_over_there_and_the_others_go_on():
    async with replica() as (channels, _, target):
        cancelled, other = (
            asyncio.ensure_future(channels.call("wait", number).result()) for number in range(2)
        )
        await until(lambda: target.under_way == 2)
        cancelled.cancel()
        await until(lambda: target.under_way == 1)
        target.go_on.set()
        assert await other == 1


async def test_a_call_that_is_cancelled_before_it_has_left_is_never_answered():
    async with replica() as (channels, _, target):
        cancelled = asyncio.ensure_future(channels.call("wait", 1).result())
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await channels.call("echo", 2).result() == 2
        await until(lambda: not target.under_way)


async def test_a_stream_that_is_left_ends_over_there():
    async with replica() as (channels, _, target):
        parts = channels.call("begin").parts()
        assert await anext(parts) == b"first"
        await parts.aclose()
        await until(lambda: not target.under_way)


@pytest.mark.parametrize(("number", "size"), [(0, 1), (1, 3_000_000), (100, 1000)])
async def test_a_streams_parts_arrive_whole_and_in_order(number, size):
    async with replica() as (channels, _, _):
        calls = [channels.call("count", number, size) for _ in range(3)]
        for call in calls:
            whole = b"".join([part async for part in call.parts()])
            assert whole == b"".join(bytes([each]) * size for each in range(number))


@pytest.mark.parametrize(
    "error", [ValueError("no"), ConnectionError("the engine died"), TimeoutError("late")]
)
async def test_what_a_method_raises_its_caller_raises_and_the_others_go_on(error):
    async with replica() as (channels, _, _):
        failing, fine = channels.call("fail", error), channels.call("echo", 1)
        with pytest.raises(type(error), match=str(error)):
            await failing.result()
        assert await fine.result() == 1


async def test_an_error_that_cannot_travel_is_told_in_words():
    async with replica() as (channels, _, _):
        with pytest.raises(RuntimeError, match="Strange: the disk is full"):
            await channels.call("fail_strangely").result()


async def test_an_error_of_the_replicas_own_class_is_told_in_words():
    async with replica() as (channels, _, _):
        with pytest.raises(RuntimeError, match="OfTheReplica: it is full"):
            await channels.call("fail_of_its_own").result()


async def test_an_error_of_the_judge_travels_as_it_is():
    async with replica() as (channels, _, _):
        with pytest.raises(LanguageUnavailable, match="no compiler"):
            await channels.call("fail", LanguageUnavailable("no compiler")).result()


async def test_a_call_whose_method_was_cancelled_by_others_fails():
    async with replica() as (channels, _, _):
        with pytest.raises(ConnectionError):
            await channels.call("be_cancelled").result()


async def test_arguments_that_cannot_travel_fail_their_calls_and_the_next_go_on():
    async with replica() as (channels, _, _):
        assert await channels.call("echo", 1).result() == 1
        with pytest.raises(Exception, match="pickle"):
            await channels.call("echo", asyncio.get_running_loop()).result()
        assert await channels.call("echo", 2).result() == 2


async def test_a_channel_belongs_to_no_request():
    """Ray cancels what was called in a request's context when its client leaves; others use the channel too."""
    seen = []
    async with replica() as (channels, handle, _):
        opening = handle.channel.remote
        handle.channel.remote = lambda *arguments: (seen.append(REQUEST.get()), opening(*arguments))[1]
        REQUEST.set("of one client")
        assert await channels.call("whose").result() == "none"
        assert seen == ["none"]


async def test_an_answer_that_cannot_travel_is_an_error_of_that_call():
    async with replica() as (channels, _, _):
        with pytest.raises(Exception, match="pickle"):
            await channels.call("give_a_lock").result()
        assert await channels.call("echo", 1).result() == 1


async def test_only_methods_that_were_named_can_be_called():
    async with replica() as (channels, _, _):
        with pytest.raises(LookupError, match="go_on"):
            await channels.call("go_on").result()


async def test_calls_to_a_replica_that_dies_fail_at_once_and_the_next_go_elsewhere():
    async with replica() as (channels, handle, target):
        call = asyncio.ensure_future(channels.call("wait", 1).result())
        await until(lambda: target.under_way)
        handle.server.close()  # its connections
        with pytest.raises(ConnectionError):
            await call
        assert await channels.call("echo", 2).result() == 2
        assert len(handle.opened) == 2


async def test_calls_fail_with_what_ray_raises():
    async with replica() as (channels, handle, _):

        async def lost(*_):
            raise RuntimeError("the replica was not placed")

        handle.channel.remote = lambda *arguments: asyncio.ensure_future(lost(*arguments))
        with pytest.raises(RuntimeError, match="not placed"):
            await channels.call("echo", 1).result()


async def test_calls_that_ray_gave_up_fail():
    async with replica() as (channels, handle, target):
        call = asyncio.ensure_future(channels.call("wait", 1).result())
        await until(lambda: target.under_way)
        handle.opened[0].cancel()
        with pytest.raises(ConnectionError):
            await call
        await until(lambda: not target.under_way)


async def test_a_replica_whose_ingress_is_gone_ends_what_it_asked_for():
    listener, target = Listener(), Target()
    handle = ReplicaHandle(target, *METHODS)
    await listener.listen("127.0.0.1")
    call = asyncio.ensure_future(Channels(handle, listener).call("wait", 1).result())
    async with asyncio.timeout(SOON):
        await until(lambda: target.under_way)
        await listener.close()
        await until(lambda: not target.under_way)
    with pytest.raises(ConnectionError):
        await call
    handle.server.close()


async def test_a_call_ends_with_what_its_check_raises_wherever_it_waits(monkeypatch):
    monkeypatch.setattr(channel, "_LOOK_UP_S", 0.01)
    async with replica() as (channels, handle, _):
        handle.channel.remote = lambda *_: asyncio.get_running_loop().create_future()

        def check():
            raise ValueError("it is down")

        with pytest.raises(ValueError, match="it is down"):
            await channels.call("echo", 1, check=check).result()


async def test_who_waits_for_a_replica_that_never_comes_leaves_nothing_behind(monkeypatch):
    monkeypatch.setattr(channel, "OPEN_S", 0.01)
    async with replica() as (channels, handle, _):
        response = asyncio.get_running_loop().create_future()
        handle.channel.remote = lambda *_: response
        call = asyncio.ensure_future(channels.call("echo", 1).result())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
        await until(response.cancelled)


def test_a_loop_that_ends_with_a_channel_open_has_no_error_to_report():
    """A response of Ray's that is cancelled while it is waited for raises an error of Ray's own."""
    reported = []

    class Response:
        def __init__(self):
            self._future = asyncio.get_running_loop().create_future()

        def __await__(self):
            try:
                yield from self._future
            except asyncio.CancelledError:
                raise RuntimeError("request was cancelled") from None

        def cancel(self):
            self._future.cancel()

    async def leave_open():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        async with replica() as (channels, handle, _):
            opened = asyncio.Event()
            handle.channel.remote = lambda *_: (opened.set(), Response())[1]
            call = asyncio.ensure_future(channels.call("echo", 1).result())
            await opened.wait()
            await asyncio.sleep(0)
            return call

    asyncio.run(leave_open())
    assert reported == []


async def test_who_does_not_know_the_secret_is_shut_out_unheard():
    listener, links, heard = Listener(), Links(), []
    await listener.listen("127.0.0.1")
    number = listener.expect(lambda _, payload: heard.append(payload))
    async with asyncio.timeout(SOON):
        forged = await links.to(dataclasses.replace(listener.address, secret=bytes(32)))
        forged.send(number, b"forged")
        await until(lambda: forged.lost)
        (await links.to(listener.address)).send(number, b"true")
        await until(lambda: heard)
    assert heard == [b"true"]
    links.close()
    await listener.close()


async def test_what_is_sent_first_arrives_first_whether_or_not_it_may_wait():
    listener, links, heard = Listener(), Links(), []
    await listener.listen("127.0.0.1")
    number = listener.expect(lambda _, payload: heard.append(payload))
    async with asyncio.timeout(SOON):
        link = await links.to(listener.address)
        for each in range(20):
            link.send(number, b"%d" % each, stream=each if each % 3 else None)
            if each % 5 == 0:
                await asyncio.sleep(0.001)
        await until(lambda: len(heard) == 20)
    assert heard == [b"%d" % each for each in range(20)]
    links.close()
    await listener.close()
