import asyncio

from alpharay.judge.pool.queue import FairQueue


async def test_groups_take_turns():
    queue = FairQueue()
    for number in range(4):
        queue.put(("large", number), "large")
    queue.put(("small", 0), "small")
    order = [await queue.get() for _ in range(5)]
    assert order.index(("small", 0)) == 1
    assert [item for item in order if item[0] == "large"] == [("large", number) for number in range(4)]


async def test_a_discarded_item_is_never_handed_out():
    queue = FairQueue()
    queue.put("a", 1)
    queue.put("b", 1)
    queue.discard("a", 1)
    queue.discard("never there", 2)
    assert len(queue) == 1
    assert await queue.get() == "b"


async def test_a_getter_that_went_away_loses_nothing():
    queue = FairQueue()
    gone = asyncio.create_task(queue.get())
    stays = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put("a", None)
    gone.cancel()
    assert await stays == "a"
