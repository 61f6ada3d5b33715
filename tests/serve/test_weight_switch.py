"""Turns at an engine that holds one member's weights at a time."""

import asyncio
import random

import pytest

from alpharay.serve.engine.weight_switch import WeightSwitchScheduler


class Engine:
    """What the weight-switch scheduler moves; says what was seen by whom."""

    def __init__(self, *, broken=(), turn_s=2.0, move_takes=0.0):
        self.now = 0.0
        self.move_takes = move_takes
        self.moves = []
        self.broken = set(broken)
        self.inside = 0
        self.weight_switch = WeightSwitchScheduler("a", self.move, turn_s=turn_s, clock=lambda: self.now)

    async def move(self, member):
        assert not self.inside, "moved under a request"
        await asyncio.sleep(0)
        assert self.weight_switch.moving
        self.now += self.move_takes
        if member in self.broken:
            raise OSError(f"{member} cannot be read")
        self.moves.append(member)

    async def sampling(self, member, until=None):
        async with self.weight_switch.turn(member):
            assert self.weight_switch.at == member
            self.inside += 1
            try:
                await (until.wait() if until else asyncio.sleep(0))
                assert self.weight_switch.at == member
            finally:
                self.inside -= 1


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_of_one_member_are_inside_together():
    engine, done = Engine(), asyncio.Event()
    tasks = [asyncio.create_task(engine.sampling("a", done)) for _ in range(3)]
    await settle()
    assert engine.inside == 3
    done.set()
    await asyncio.gather(*tasks)
    assert engine.moves == []


async def test_the_engine_moves_once_for_all_that_wait_for_a_member():
    engine, done = Engine(), asyncio.Event()
    first = asyncio.create_task(engine.sampling("a", done))
    others = [asyncio.create_task(engine.sampling(member)) for member in "bcbcb"]
    await settle()
    assert engine.moves == []
    done.set()
    await asyncio.gather(first, *others)
    assert engine.moves == ["b", "c"]


async def test_a_busy_member_lets_others_have_a_turn():
    """Late comers of the member at hand wait as soon as its turn is over."""
    engine, done = Engine(), asyncio.Event()
    first = asyncio.create_task(engine.sampling("a", done))
    waiting = asyncio.create_task(engine.sampling("b"))
    await settle()
    within = asyncio.create_task(engine.sampling("a", done))
    await settle()
    assert engine.inside == 2
    engine.now = 2.0
    late = asyncio.create_task(engine.sampling("a"))
    await settle()
    assert engine.inside == 2
    done.set()
    await asyncio.gather(first, within, waiting, late)
    assert engine.moves == ["b", "a"]


@pytest.mark.parametrize(("stays", "inside"), [(49.0, 2), (50.0, 1)])
async def test_a_turn_lasts_ten_times_as_long_as_the_move_to_it(stays, inside):
    engine, done = Engine(move_takes=5.0), asyncio.Event()
    first = asyncio.create_task(engine.sampling("b", done))
    await settle()
    waiting = asyncio.create_task(engine.sampling("c"))
    await settle()
    engine.now += stays
    late = asyncio.create_task(engine.sampling("b", done))
    await settle()
    assert engine.inside == inside
    assert not engine.weight_switch.moving
    done.set()
    await asyncio.gather(first, waiting, late)


async def test_a_move_that_fails_is_told_to_those_who_wanted_it_and_to_nobody_else():
    engine = Engine(broken="b")
    results = await asyncio.gather(*map(engine.sampling, "bcb"), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, type(None), OSError]
    assert engine.moves == ["c"]


async def test_after_a_failed_move_nobody_is_let_in_without_one():
    """Part of the weights may have moved: the member that was there before has to be loaded again."""
    engine = Engine(broken="b")
    with pytest.raises(OSError, match="cannot be read"):
        await engine.sampling("b")
    await engine.sampling("a")
    assert engine.moves == ["a"]


async def test_whoever_gives_up_waiting_holds_nothing_up():
    engine, done = Engine(), asyncio.Event()
    first = asyncio.create_task(engine.sampling("a", done))
    gone = asyncio.create_task(engine.sampling("b"))
    waiting = asyncio.create_task(engine.sampling("c"))
    await settle()
    gone.cancel()
    await settle()
    done.set()
    await asyncio.gather(first, waiting)
    assert engine.moves == ["c"]
    await engine.sampling("a")
    assert engine.inside == 0


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_is_asked_and_cancelled_everyone_else_is_served_by_their_member(seed):
    rng = random.Random(seed)
    engine = Engine(turn_s=0.5)
    tasks = []
    for _ in range(60):
        tasks.append(asyncio.create_task(engine.sampling(rng.choice("abcd"))))
        engine.now += rng.random()
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        if rng.random() < 0.3:
            rng.choice(tasks).cancel()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
    assert engine.inside == 0
    await asyncio.wait_for(engine.sampling("d"), 10)  # nothing is left that holds the engine
