"""The Ray Serve replica that answers HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.types import Receive, Scope, Send

from alpharay.judge.supervise import Supervisor
from alpharay.serve.config import Config
from alpharay.serve.gateway.app import build_app
from alpharay.serve.gateway.batches.service import Batches
from alpharay.serve.gateway.http.gate import tidy
from alpharay.serve.gateway.routes import checkpoints
from alpharay.serve.gateway.server import Server
from alpharay.serve.learn.store import Store
from alpharay.serve.sections import Server as ServerConfig
from alpharay.serve.state.members import ServedMember
from alpharay.serve.state.revision import AnnouncedRevision
from alpharay.serve.transport.clients import RayEngines, RayJudging, calls_at_once
from alpharay.serve.transport.link import Listener

log = logging.getLogger("ray.serve")

_LOOK_S = 1.0
_CLUSTER_STATE_S = 5.0


class Ingress:
    """Answers every request with the revision that was the newest when it came.

    Each revision has a `Server` of its own, one of which there is but for the moment of a change: an earlier one
    ends with its last request. Ray Serve asks for the application once this is made.
    """

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self,
        config: Config,
        members: tuple[ServedMember, ...],
        hosts: Mapping[str, Any],
        judge: Any,
        cluster_state: Any,
        arrive: Callable[[ServerConfig], str],
        idle: Sequence[Any] = (),
    ) -> None:
        """arrive: prepares this process for listening, and gives its node's address.

        idle: hosts that this revision does not ask; they are here so that Ray runs them.
        """
        del idle
        self._listener = Listener()
        await self._listener.listen(arrive(config.server))
        self._judge = judge
        self._cluster_state = cluster_state
        self._rooms: list[_Room] = []  # the newest one last
        self._batches = self._batches_of(config)
        first = AnnouncedRevision(number=0, config=config, members=members, hosts=hosts)
        self._rooms.append(self._room(first))
        await self._look()  # one that is restarted comes late to what was announced before
        self._supervisor = Supervisor(log, self._count_failure)
        self._supervisor.keep("ingress follows revisions", self._follow_forever)
        if self._batches is not None:
            self._supervisor.keep("ingress runs batches", self._batches.run_forever)

    def __serve_build_asgi_app__(self) -> Any:
        return _Door(self._rooms)

    def _batches_of(self, config: Config) -> Batches | None:
        if config.store is None or config.server.batches.folder is None:
            return None
        return Batches(Store(config.store), config.server.batches, self._inside, keep_s=config.store_keep_s)

    @contextmanager
    def _inside(self) -> Iterator[Server]:
        """The newest revision's server, which stays for as long as somebody is inside."""
        room = self._rooms[-1]
        room.inside += 1
        try:
            yield room.server
        finally:
            room.inside -= 1

    def _room(self, revision: AnnouncedRevision) -> _Room:
        engine = revision.config.engine
        engines = RayEngines(
            revision.hosts,
            lambda member: room.server.cluster.is_down(member),  # noqa: PLW0108 - not there yet
            self._listener,
            calls_at_once(engine.replicas, autoscaled=engine.autoscale is not None),
        )
        judging = RayJudging(
            self._judge,
            lambda: room.server.cluster.judge_is_down,
            self._listener,
            calls_at_once(revision.config.judge.replicas),
        )
        store = Store(revision.config.store) if revision.config.store else None
        server = Server(
            revision.config,
            revision.members,
            engines,
            judging,
            self._cluster_state,
            store,
            revision=revision.number,
        )
        room = _Room(server, revision.number, self._batches)
        return room

    def _count_failure(self, task: str) -> None:
        self._rooms[-1].server.counts.task_failed(task)

    async def _follow_forever(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """As `_follow`; what hinders it is logged, and it is tried again."""
        try:
            await self._follow()
        except Exception:
            log.warning("a new revision could not be asked for, or not be moved to", exc_info=True)

    async def _follow(self) -> None:
        """Moves to a revision that was announced, and leaves those that nobody is answered with any more."""
        async with asyncio.timeout(_CLUSTER_STATE_S):
            newer = await self._cluster_state.announced.remote(self._rooms[-1].number)
        if newer is not None:
            room = self._room(newer)
            await room.server.exchange()  # who is up: it is to answer at once
            self._rooms.append(room)
            log.info("answering with revision %d", newer.number)
        for room in self._rooms[:-1]:
            if not room.inside:
                self._rooms.remove(room)
                await room.retire()

    async def __del__(self) -> None:
        if hasattr(self, "_listener"):  # it may have failed before it had any of these
            await self._listener.close()
        if hasattr(self, "_supervisor"):
            await self._supervisor.close()
        for room in getattr(self, "_rooms", ()):
            await room.close()


class _Door:
    """The application that Ray Serve sees. An object: a method is taken for an application of the old interface."""

    def __init__(self, rooms: list[_Room]) -> None:
        self._rooms = rooms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._rooms[0].app(scope, receive, send)  # the same for all, and does nothing
            return
        room = self._rooms[-1]
        if scope["type"] == "http" and tidy(scope["path"]) == checkpoints.PATH:
            # It may wait for a change, which waits until nobody is inside the room of the revision before.
            await room.app(scope, receive, send)
            return
        room.inside += 1
        try:
            await room.app(scope, receive, send)
        finally:
            room.inside -= 1


class _Room:
    """One revision's server and application. inside: requests that have not ended."""

    def __init__(self, server: Server, number: int, batches: Batches | None) -> None:
        self.server = server
        self.number = number
        self.app = build_app(server, batches)
        self.inside = 0
        self._supervisor = Supervisor(log, server.counts.task_failed)
        self._supervisor.keep("ingress reports", server.exchange_forever)
        self._supervisor.keep("ingress learns", server.learning.exchange_forever)
        if server.rollouts is not None:
            self._supervisor.keep("ingress writes rollouts", server.rollouts.write_forever)
        if server.config.store and server.learning.forgets:
            self._supervisor.keep("ingress forgets", server.learning.forget_forever)

    async def retire(self) -> None:
        """Nobody is answered here any more."""
        try:
            await self.close()
        finally:
            self.server.admission.draining = True
            await self.server.exchange()  # so that nobody waits for it

    async def close(self) -> None:
        await self._supervisor.close()
        if self.server.rollouts is not None:
            await self.server.rollouts.close()
        await self.server.learning.close()
