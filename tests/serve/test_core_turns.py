"""Engines that share a machine's cores take turns at the later samples of large requests."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from alpharay.serve.dialects.api_request import engine_headers, sample_order
from alpharay.serve.engine import core_turns
from alpharay.serve.engine.core_turns import CoreTurns

from .clock import pass_time


class Drawing:
    """Samples that were asked for; each is drawn until it is ended."""

    def __init__(self, turns: CoreTurns) -> None:
        self._turns = turns
        self.inside: list[str] = []  # the engine of each that may draw
        self.tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def later(self, engine: str, count: int = 1, request: str = "large") -> None:
        async def sample() -> None:
            async with self._turns.later(request, engine):
                self.inside.append(engine)
                await self._ends.setdefault(engine, asyncio.Event()).wait()
                self.inside.remove(engine)

        self.tasks.setdefault(engine, []).extend(asyncio.create_task(sample()) for _ in range(count))
        await settle()

    async def end(self, engine: str) -> None:
        """Ends those of the engine that draw now."""
        self._ends.pop(engine).set()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_large_request_draws_on_as_many_engines_at_a_time_as_there_are_cores() -> None:
    drawing = Drawing(CoreTurns(2))
    for engine in "abcd":
        await drawing.later(engine, 30)
    assert set(drawing.inside) == {"a", "b"}
    assert len(drawing.inside) == 60
    await drawing.end("a")
    assert set(drawing.inside) == {"b", "c"}
    await drawing.end("b")
    await drawing.end("c")
    assert drawing.inside == ["d"] * 30
    await drawing.end("d")
    assert drawing.inside == []


async def test_first_samples_never_wait() -> None:
    turns = CoreTurns(1)
    drawing = Drawing(turns)
    await drawing.later("a", 30)
    async with asyncio.timeout(1), turns.first("small"), turns.first("another"):
        pass


async def test_beside_a_small_request_fewer_engines_draw_and_fewer_samples_in_each() -> None:
    turns = CoreTurns(2)
    drawing = Drawing(turns)
    async with turns.first("small"):
        await drawing.later("a", 3 * core_turns._BESIDE)
        await drawing.later("b", 3 * core_turns._BESIDE)
        assert drawing.inside == ["a"] * core_turns._BESIDE
        await drawing.end("a")  # the rest of its wave follows
        assert drawing.inside == ["a"] * core_turns._BESIDE


async def test_when_the_small_request_has_gone_all_that_fits_draws() -> None:
    turns = CoreTurns(2)
    drawing = Drawing(turns)
    async with turns.first("small"):
        await drawing.later("a", 60)
        await drawing.later("b", 60)
    await pass_time(2 * core_turns._PRESENT_S)
    assert sorted(drawing.inside) == ["a"] * 60 + ["b"] * 60


async def test_a_small_request_that_has_just_ended_still_counts() -> None:
    turns = CoreTurns(2)
    drawing = Drawing(turns)
    async with turns.first("small"):
        pass
    await drawing.later("a", 60)
    assert len(drawing.inside) == core_turns._BESIDE


async def test_the_first_samples_of_the_large_request_itself_leave_it_all_cores() -> None:
    turns = CoreTurns(2)
    drawing = Drawing(turns)
    async with turns.first("large"):
        await drawing.later("a", 60)
        await drawing.later("b", 60)
        assert len(drawing.inside) == 120


async def test_an_engine_lets_in_for_a_second_and_then_others_have_their_turn() -> None:
    drawing = Drawing(CoreTurns(1))
    await drawing.later("a")
    await pass_time(5)
    await drawing.later("a")
    assert drawing.inside == ["a", "a"]  # nobody else waits
    await drawing.later("b")
    await drawing.later("a")
    assert drawing.inside == ["a", "a"]
    await drawing.end("a")
    assert drawing.inside == ["b"]
    await pass_time(core_turns._LETS_IN_S / 2)
    await drawing.later("b")
    assert drawing.inside == ["b", "b"]
    await drawing.end("b")
    assert drawing.inside == ["a"]


async def test_those_who_give_up_leave_no_place_taken() -> None:
    drawing = Drawing(CoreTurns(1))
    await drawing.later("a")
    await drawing.later("b", 3)
    await drawing.later("c")
    for task in drawing.tasks["b"]:
        task.cancel()
    await settle()
    await drawing.end("a")
    assert drawing.inside == ["c"]
    drawing.tasks["c"][0].cancel()
    await settle()
    await drawing.later("d")
    assert drawing.inside[-1] == "d"


async def test_one_that_gives_up_in_the_moment_in_which_it_is_let_in_gives_its_place_back() -> None:
    turns = CoreTurns(1)
    drawing = Drawing(turns)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(turns.later("large", "a"))
        await drawing.later("b")
    drawing.tasks["b"][0].cancel()  # let in, and not yet told
    await drawing.later("c")
    assert drawing.inside == ["c"]


def test_the_first_eight_samples_of_a_request_are_its_first() -> None:
    orders = [sample_order(engine_headers(f"chatcmpl-1-{n}", n)) for n in range(250)]
    assert orders == [("chatcmpl-1", n >= 8) for n in range(250)]


def test_what_is_no_sample_of_a_request_takes_no_turn() -> None:
    assert sample_order({}) is None


def test_every_sample_of_a_batch_is_a_later_one() -> None:
    assert sample_order(engine_headers("chatcmpl-1-0", background=True)) == ("chatcmpl-1", True)
