"""A queue that takes turns between groups, so that a large request does not hold up a small one."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """First in, first out within a group; between groups, one each in turn."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._size = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return self._size

    def put(self, item: Item, group: Hashable) -> None:
        self._groups.setdefault(group, deque()).append(item)
        self._size += 1
        self._wake_one()

    def discard(self, item: Item, group: Hashable) -> None:
        """Takes an item out of turn, if it is still here."""
        queue = self._groups.get(group)
        if queue is None:
            return
        try:
            queue.remove(item)
        except ValueError:
            return
        self._size -= 1
        if not queue:
            del self._groups[group]

    async def get(self) -> Item:
        while not self._size:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if self._size:
                    self._wake_one()  # the item that this getter was woken for is another's now
                raise
        group, queue = self._groups.popitem(last=False)
        item = queue.popleft()
        self._size -= 1
        if queue:
            self._groups[group] = queue  # to the end of the round
        return item

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
