"""Memory of a GPU while engines start on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger("ray.serve")

_LOOK_S = 0.5
# The driver gives back what a killed process held within seconds, and later where the process still ends.
_AT_MOST_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """Bytes of one GPU."""

    free: int
    total: int


async def until_free(
    engine: str, read: Callable[[], Sequence[GpuMemory]], share: float, *, at_most_s: float = _AT_MOST_S
) -> None:
    """Returns once every GPU of an engine has `share` of its memory free, which vLLM asks for before it starts.

    An engine that died may still hold its own. After `at_most_s` the start goes on, and fails with what vLLM says;
    so it does where the driver tells nothing.
    """
    loop = asyncio.get_running_loop()
    deadline, waits = loop.time() + at_most_s, False
    while True:
        try:
            gpus = await asyncio.to_thread(read)
        except Exception as error:
            log.warning(
                "the memory of the GPU of %s cannot be read, so nothing waits for it: %s", engine, error
            )
            return
        short = [
            f"{gpu.free / 1e9:.1f} of {gpu.total / 1e9:.1f} GB"
            for gpu in gpus
            if gpu.free < share * gpu.total
        ]
        if not short:
            return
        if loop.time() >= deadline:
            log.warning(
                "after %g s the engine of %s starts with less memory than it wants: free are %s, wanted are %.0f %%; "
                "`nvidia-smi` lists who holds the rest",
                at_most_s, engine, ", ".join(short), 100 * share,
            )  # fmt: skip
            return
        if not waits:
            waits = True
            log.warning(
                "the engine of %s waits up to %g s for memory of its GPU: free are %s, wanted are %.0f %%",
                engine, at_most_s, ", ".join(short), 100 * share,
            )  # fmt: skip
        await asyncio.sleep(_LOOK_S)


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
