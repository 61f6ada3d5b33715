"""In which order the engines of one replica start."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol


class Starting(Protocol):
    """What the order needs of an engine."""

    async def start(self) -> None: ...

    async def cache_bytes(self) -> int: ...

    def reserve_cache(self, size: int) -> None: ...


async def start_engines(engines: Sequence[Starting], *, on_one_gpu: bool) -> None:
    """Starts all engines: side by side, or one after another where they share a GPU.

    An engine measures the GPU's free memory while it starts, and would count what its neighbours take meanwhile as its
    own. So the first measures alone, and the others, whose weights are as large, reserve what it found for their
    caches. So does the first when it is started again.
    """
    if not on_one_gpu:
        await asyncio.gather(*(engine.start() for engine in engines))
        return
    first, *rest = engines
    await first.start()
    size = await first.cache_bytes()  # 0: it could not be measured
    for engine in engines:
        if size:  # else it was not measured, and each measures what is left
            engine.reserve_cache(size)
    for engine in rest:
        await engine.start()
