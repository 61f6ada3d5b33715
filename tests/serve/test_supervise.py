"""Whatever runs for as long as its process does goes on after a fault, a hang, an end or a stray cancellation."""

import asyncio
import logging
from itertools import pairwise

import pytest

from alpharay.judge.supervise import LONGEST_PAUSE_S, Supervisor

from .clock import pass_time


@pytest.fixture
async def supervisor():
    task_supervisor = Supervisor(logging.getLogger("ray.serve"))
    yield task_supervisor
    await task_supervisor.close()


async def cancelled_within():
    inner = asyncio.ensure_future(asyncio.sleep(1000))
    inner.cancel()
    await inner


async def failing():
    raise ValueError("no such row")


async def ending():
    pass


@pytest.mark.parametrize("fault", [failing, ending, cancelled_within])
async def test_a_task_that_stops_starts_again_and_is_counted(supervisor, fault, caplog):
    ran = []

    async def once_bad():
        ran.append(1)
        if len(ran) == 1:
            await fault()
        else:
            await asyncio.sleep(1e5)

    with caplog.at_level(logging.ERROR, "ray.serve"):
        supervisor.keep("watch", once_bad)
        await pass_time(10)
    assert (len(ran), dict(supervisor.failures)) == (2, {"watch": 1})
    assert "'watch'" in caplog.text


async def test_the_pauses_grow_while_it_keeps_failing_and_not_beyond_a_bound(supervisor):
    at = []

    async def bad():
        at.append(asyncio.get_running_loop().time())
        await failing()

    supervisor.keep("watch", bad)
    await pass_time(300)
    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert pauses[-1] == LONGEST_PAUSE_S


async def test_a_turn_that_hangs_has_failed_and_the_next_one_comes(supervisor):
    turns = []

    async def hangs_once():
        turns.append(1)
        if len(turns) == 1:
            await asyncio.sleep(1e5)

    supervisor.every("watch", 1.0, hangs_once, at_most_s=20)
    await pass_time(30)
    assert len(turns) > 5
    assert supervisor.failures["watch"] == 1


async def test_closing_ends_it_and_counts_nothing(supervisor):
    supervisor.keep("watch", lambda: asyncio.sleep(1e5))
    await pass_time(1)
    await supervisor.close()
    assert not supervisor.failures
    assert not supervisor._tasks
