"""Streams share a connection from a host to an ingress; each gets its own bytes, whole and in order, or an error."""

import asyncio
import dataclasses
from contextlib import asynccontextmanager

import pytest

from alpharay.serve.trunk import Inlet, Outlets

SOON = 5


@asynccontextmanager
async def trunk():
    inlet, outlets = Inlet(), Outlets()
    await inlet.listen("127.0.0.1")
    try:
        yield inlet, outlets
    finally:
        outlets.close()
        await inlet.close()


async def rest(arrival):
    async with asyncio.timeout(SOON):
        return b"".join([part async for part in arrival.parts()])


async def test_streams_that_share_a_connection_get_their_own_bytes():
    async with trunk() as (inlet, outlets):
        arrivals = [inlet.expect() for _ in range(3)]
        opened = [await outlets.to(arrival.berth) for arrival in arrivals]
        assert len(set(opened)) == 1
        for turn in range(50):
            for arrival in arrivals:
                opened[0].send(arrival.berth.number, b"%d-%d " % (arrival.berth.number, turn))
        for arrival in arrivals:
            opened[0].send(arrival.berth.number, b"")
        for arrival in arrivals:
            number = arrival.berth.number
            assert await rest(arrival) == b"".join(b"%d-%d " % (number, turn) for turn in range(50))


async def test_a_part_larger_than_any_read_arrives_whole():
    async with trunk() as (inlet, outlets):
        arrival = inlet.expect()
        outlet = await outlets.to(arrival.berth)
        large = bytes(range(256)) * 20_000
        outlet.send(arrival.berth.number, large)
        outlet.send(arrival.berth.number, b"")
        assert await rest(arrival) == large


async def test_a_first_part_arrives_while_its_stream_goes_on():
    async with trunk() as (inlet, outlets):
        arrival = inlet.expect()
        outlet = await outlets.to(arrival.berth)
        outlet.send(arrival.berth.number, b"first")
        async with asyncio.timeout(SOON):
            assert await anext(arrival.parts()) == b"first"


async def test_what_arrives_for_a_stream_that_was_closed_harms_nobody():
    async with trunk() as (inlet, outlets):
        gone, there = inlet.expect(), inlet.expect()
        outlet = await outlets.to(gone.berth)
        gone.close()
        outlet.send(gone.berth.number, b"for nobody")
        outlet.send(there.berth.number, b"for somebody")
        outlet.send(there.berth.number, b"")
        assert await rest(there) == b"for somebody"


async def test_a_stream_whose_host_dies_fails_after_what_has_arrived():
    async with trunk() as (inlet, outlets):
        arrival = inlet.expect()
        (await outlets.to(arrival.berth)).send(arrival.berth.number, b"half")
        parts = arrival.parts()
        async with asyncio.timeout(SOON):
            assert await anext(parts) == b"half"
            outlets.close()
            with pytest.raises(ConnectionError):
                await anext(parts)


async def test_a_host_whose_ingress_is_gone_is_told_and_connects_to_the_next():
    async with trunk() as (inlet, outlets):
        arrival = inlet.expect()
        outlet = await outlets.to(arrival.berth)
        outlet.send(arrival.berth.number, b"x")
        async with asyncio.timeout(SOON):
            await anext(arrival.parts())
            await inlet.close()
            await outlet.lost.wait()
        with pytest.raises(ConnectionError):
            outlet.send(arrival.berth.number, b"y")
        with pytest.raises(ConnectionRefusedError):
            await outlets.to(arrival.berth)
    async with trunk() as (other, _):
        arrival = other.expect()
        (await outlets.to(arrival.berth)).send(arrival.berth.number, b"")
        assert await rest(arrival) == b""
        outlets.close()


async def test_who_does_not_know_the_secret_is_shut_out():
    async with trunk() as (inlet, outlets):
        arrival = inlet.expect()
        forged = dataclasses.replace(arrival.berth, secret=bytes(32))
        outlet = await outlets.to(forged)
        outlet.send(arrival.berth.number, b"forged")
        async with asyncio.timeout(SOON):
            await outlet.lost.wait()
        (await outlets.to(arrival.berth)).send(arrival.berth.number, b"")
        assert await rest(arrival) == b""
