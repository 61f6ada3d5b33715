"""Large and small requests in one engine on a CPU: who has how many samples there at once."""

import asyncio
import random
from collections import Counter

import pytest

from alpharay.serve.engine.fair_share import HOLD_S, FairShare

from .clock import pass_time

PART = 16


class Engine:
    """running: samples in the engine, by request. Each takes a second."""

    def __init__(self):
        self.shares = FairShare(PART)
        self.running = Counter()
        self.most = Counter()

    async def sample(self, request, seconds=1.0):
        async with self.shares.place(request):
            self.running[request] += 1
            self.most[request] = max(self.most[request], self.running[request])
            try:
                await asyncio.sleep(seconds)
            finally:
                self.running[request] -= 1

    def draw(self, request, samples, seconds=1.0):
        return [asyncio.create_task(self.sample(request, seconds)) for _ in range(samples)]


@pytest.fixture
def engine():
    return Engine()


async def test_a_lone_large_request_has_the_whole_engine(engine):
    tasks = engine.draw("large", 250)
    await pass_time(0.1)
    assert engine.running["large"] == 250
    await asyncio.gather(*tasks)


async def test_a_lone_request_that_grows_by_waves_is_not_its_own_small_neighbour(engine):
    await asyncio.gather(*engine.draw("large", 5))
    tasks = engine.draw("large", 250)
    await pass_time(0.1)
    assert engine.running["large"] == 250
    await asyncio.gather(*tasks)


async def test_while_a_small_request_is_there_a_large_one_has_its_part(engine):
    small = engine.draw("small", 1, seconds=3)
    large = engine.draw("large", 100)
    await pass_time(0.5)
    assert engine.running == {"small": 1, "large": PART}
    assert engine.shares.waiting == 100 - PART
    await asyncio.gather(*small, *large)
    assert sum(engine.running.values()) == engine.shares.waiting == 0


async def test_small_requests_never_wait(engine):
    large = engine.draw("large", 500)
    for number in range(50):
        began = asyncio.get_running_loop().time()
        await engine.sample(f"small {number}", seconds=0.2)
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.2)
    await asyncio.gather(*large)


async def test_between_small_requests_that_follow_one_another_a_large_one_keeps_to_its_part(engine):
    await engine.sample("small 1", seconds=0.1)
    large = engine.draw("large", 100, seconds=9)
    await pass_time(HOLD_S / 2)
    assert engine.running["large"] == PART
    await pass_time(HOLD_S / 2 + 0.01)
    assert engine.running["large"] == 100, "no small one came for a while"
    await asyncio.gather(*large)


async def test_large_requests_divide_the_part_among_them_and_alone_have_all(engine):
    both = engine.draw("large 1", 40) + engine.draw("large 2", 40)
    await pass_time(0.1)
    assert engine.running == {"large 1": 40, "large 2": 40}, "no small one is there"
    await asyncio.gather(*both)
    small = engine.draw("small", 1, seconds=5)
    both = engine.draw("large 1", 40) + engine.draw("large 2", 40)
    await pass_time(1.5)
    assert engine.running == {"small": 1, "large 1": PART // 2, "large 2": PART // 2}
    await asyncio.gather(*small, *both)


async def test_what_is_cancelled_leaves_its_place_and_its_wait(engine):
    small = engine.draw("small", 1, seconds=9)
    large = engine.draw("large", 50)
    await pass_time(0.1)
    for task in large[:PART] + large[-10:]:
        task.cancel()
    await asyncio.gather(*large[:PART], *large[-10:], return_exceptions=True)
    await pass_time(0.1)
    assert (engine.running["large"], engine.shares.waiting) == (PART, 50 - 2 * PART - 10)
    await asyncio.gather(*small, *large, return_exceptions=True)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_comes_and_goes_everybody_is_served_and_nothing_is_left(engine, seed):
    chance = random.Random(seed)
    tasks = []
    for number in range(12):
        tasks += engine.draw(f"request {number}", chance.choice([1, 2, 7, 30, 120]), chance.uniform(0.1, 2))
        await pass_time(chance.uniform(0, 2))
        for task in chance.sample(tasks, 5 if len(tasks) > 5 else 0):
            task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in done)
    assert sum(engine.running.values()) == engine.shares.waiting == 0
    await pass_time(2 * HOLD_S)
    tasks = engine.draw("late", 100)
    await pass_time(0.05)
    assert engine.running["late"] == 100
    await asyncio.gather(*tasks)
