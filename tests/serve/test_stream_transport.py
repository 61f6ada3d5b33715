"""Streams share a connection from a host to an ingress; each gets its own bytes, whole and in order, or an error."""

import asyncio
import dataclasses
from contextlib import asynccontextmanager

import pytest

from alpharay.serve.transport.stream_transport import StreamListener, StreamSenders

SOON = 5


@asynccontextmanager
async def transport():
    listener, senders = StreamListener(), StreamSenders()
    await listener.listen("127.0.0.1")
    try:
        yield listener, senders
    finally:
        senders.close()
        await listener.close()


async def rest(incoming):
    async with asyncio.timeout(SOON):
        return b"".join([part async for part in incoming.parts()])


async def test_streams_that_share_a_connection_get_their_own_bytes():
    async with transport() as (listener, senders):
        incoming_streams = [listener.expect() for _ in range(3)]
        opened = [await senders.to(incoming.stream_id) for incoming in incoming_streams]
        assert len(set(opened)) == 1
        for turn in range(50):
            for incoming in incoming_streams:
                opened[0].send(incoming.stream_id.number, b"%d-%d " % (incoming.stream_id.number, turn))
        for incoming in incoming_streams:
            opened[0].send(incoming.stream_id.number, b"")
        for incoming in incoming_streams:
            number = incoming.stream_id.number
            assert await rest(incoming) == b"".join(b"%d-%d " % (number, turn) for turn in range(50))


async def test_a_part_larger_than_any_read_arrives_whole():
    async with transport() as (listener, senders):
        incoming = listener.expect()
        sender = await senders.to(incoming.stream_id)
        large = bytes(range(256)) * 20_000
        sender.send(incoming.stream_id.number, large)
        sender.send(incoming.stream_id.number, b"")
        assert await rest(incoming) == large


async def test_a_first_part_arrives_while_its_stream_goes_on():
    async with transport() as (listener, senders):
        incoming = listener.expect()
        sender = await senders.to(incoming.stream_id)
        sender.send(incoming.stream_id.number, b"first")
        async with asyncio.timeout(SOON):
            assert await anext(incoming.parts()) == b"first"


async def test_what_arrives_for_a_stream_that_was_closed_harms_nobody():
    async with transport() as (listener, senders):
        gone, there = listener.expect(), listener.expect()
        sender = await senders.to(gone.stream_id)
        gone.close()
        sender.send(gone.stream_id.number, b"for nobody")
        sender.send(there.stream_id.number, b"for somebody")
        sender.send(there.stream_id.number, b"")
        assert await rest(there) == b"for somebody"


async def test_a_stream_whose_host_dies_fails_after_what_has_arrived():
    async with transport() as (listener, senders):
        incoming = listener.expect()
        (await senders.to(incoming.stream_id)).send(incoming.stream_id.number, b"half")
        parts = incoming.parts()
        async with asyncio.timeout(SOON):
            assert await anext(parts) == b"half"
            senders.close()
            with pytest.raises(ConnectionError):
                await anext(parts)


async def test_a_host_whose_ingress_is_gone_is_told_and_connects_to_the_next():
    async with transport() as (listener, senders):
        incoming = listener.expect()
        sender = await senders.to(incoming.stream_id)
        sender.send(incoming.stream_id.number, b"x")
        async with asyncio.timeout(SOON):
            await anext(incoming.parts())
            await listener.close()
            await sender.lost.wait()
        with pytest.raises(ConnectionError):
            sender.send(incoming.stream_id.number, b"y")
        with pytest.raises(ConnectionRefusedError):
            await senders.to(incoming.stream_id)
    async with transport() as (other, _):
        incoming = other.expect()
        (await senders.to(incoming.stream_id)).send(incoming.stream_id.number, b"")
        assert await rest(incoming) == b""
        senders.close()


async def test_who_does_not_know_the_secret_is_shut_out():
    async with transport() as (listener, senders):
        incoming = listener.expect()
        forged = dataclasses.replace(incoming.stream_id, secret=bytes(32))
        sender = await senders.to(forged)
        sender.send(incoming.stream_id.number, b"forged")
        async with asyncio.timeout(SOON):
            await sender.lost.wait()
        (await senders.to(incoming.stream_id)).send(incoming.stream_id.number, b"")
        assert await rest(incoming) == b""
