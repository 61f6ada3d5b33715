"""What the routes of one revision work with."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alpharay.judge.limits import Limits
from alpharay.router.draw import mix
from alpharay.serve.config import Config
from alpharay.serve.gateway.admission import Admission
from alpharay.serve.gateway.cluster_view import EXCHANGE_S, ClusterView
from alpharay.serve.gateway.door.judging import Door
from alpharay.serve.gateway.parse import Served
from alpharay.serve.learn.learning import Learning, Retention
from alpharay.serve.learn.recording import RecordedSession
from alpharay.serve.learn.store import Store
from alpharay.serve.portfolio_file import read_portfolio
from alpharay.serve.sampling.conversations import Conversations, spread
from alpharay.serve.sampling.ensemble import Ensemble
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.state.members import ServedMember
from alpharay.serve.state.metrics import Counts
from alpharay.serve.transport.clients import Engines, JudgeClient

if TYPE_CHECKING:  # pyarrow comes with it
    from alpharay.serve.learn.rollouts.live import LiveRollouts


class Server:
    """One ingress replica's parts, for one revision."""

    def __init__(
        self,
        config: Config,
        members: tuple[ServedMember, ...],
        engines: Engines,
        judging: JudgeClient,
        cluster_state: Any,
        store: Store | None = None,
        *,
        revision: int = 0,
    ) -> None:
        self.config = config
        self.members = members
        self.by_name = {member.name: member for member in members}
        self.engines = engines
        self.counts = Counts()
        self.revision = revision
        self.cluster_state = cluster_state
        self.admission = Admission(config.server, self.counts)
        self.cluster = ClusterView(cluster_state, self.admission, revision)
        file = config.router.portfolio
        portfolio = read_portfolio(file, self.by_name) if file is not None else None
        kept = Retention(seconds=config.store_keep_s, size=config.store_size_bytes)
        self.learning = Learning(store, members, self.counts, portfolio=portfolio, retention=kept)
        self.rollouts = _rollouts(config, self.counts)
        self.ensemble = Ensemble(engines, judging, self.counts)
        self.door = Door(judging, self.counts, config.judge.max_queued * config.judge.replicas)
        self.conversations = Conversations()
        self.served = Served(
            config=config,
            members=members,
            limits=Limits(cpu_s=config.judge.time_limit_s, memory_mb=config.judge.memory_limit_mb),
            is_agent=self.conversations.is_agent,
        )
        self.started = int(time.time())
        self._rotation = itertools.count()
        self._looking = asyncio.Lock()
        self._looked = 0.0

    def begin(self, parsed: ParsedRequest) -> RecordedSession:
        """The request's session, with what this replica knows: what was learnt, and whose turn it is."""
        sampling, conversation = parsed.sampling, parsed.conversation
        if sampling.reproducible:
            # What was learnt meanwhile must not change the answer.
            state, rotation = self.learning.fixed(), mix(sampling.seed)
        else:
            state = self.learning.router_state()
            if conversation:  # the same member wherever and whenever it goes on
                rotation = spread(conversation)
            else:
                rotation = mix(sampling.seed) if parsed.pinned else next(self._rotation)
        first_wave = 0
        if parsed.policy == "portfolio":
            first_wave = state.portfolio.first_wave([member.name for member in sampling.members])
        prefer = self.conversations.member(conversation) if conversation else ""
        sampling = replace(
            sampling, router_state=state, rotation=rotation, first_wave=first_wave, prefer=prefer
        )
        return RecordedSession(sampling, parsed.policy)

    def drain(self, seconds: float) -> None:
        """Lets nothing more in; budgets under way end within that time, with the best so far."""
        self.admission.draining = True
        self.ensemble.drain(seconds)

    async def exchange_forever(self) -> None:
        """Syncs counters and cluster state every second."""
        while True:
            await self.exchange()
            await asyncio.sleep(EXCHANGE_S)

    async def look_again(self) -> None:
        """What the cluster state says now. One exchange serves all who ask while the one before it is under way."""
        called_at = time.monotonic()
        async with self._looking:
            if self._looked < called_at:
                self._looked = time.monotonic()
                await self.exchange()

    async def exchange(self) -> None:
        drain_s = await self.cluster.exchange()
        if drain_s is not None and not self.admission.draining:
            self.drain(drain_s)


def _rollouts(config: Config, counts: Counts) -> LiveRollouts | None:
    if config.server.rollouts is None:
        return None
    from alpharay.serve.learn.rollouts.live import LiveRollouts

    return LiveRollouts(config.server.rollouts, counts)
