"""One ingress replica's state: who is served, what is counted, and whether more may come in."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from prometheus_client.core import Metric

from alpharay.router import POLICIES, PolicyState, RouterState
from alpharay.serve import logs
from alpharay.serve.config import Config
from alpharay.serve.errors import RequestError, no_capacity
from alpharay.serve.gateway.http.bodies import Bodies
from alpharay.serve.learn.learning import Learning
from alpharay.serve.learn.store import Store
from alpharay.serve.portfolio_file import read_portfolio
from alpharay.serve.sampling.direct import Conversations
from alpharay.serve.sampling.ensemble import Ensemble
from alpharay.serve.spelling import did_you_mean, shown
from alpharay.serve.state import metrics
from alpharay.serve.state.cluster_state import IngressReport, Overview
from alpharay.serve.state.keys import Key, KeyRing
from alpharay.serve.state.limits import Limits, RateLimitLease
from alpharay.serve.state.members import ServedMember, find_member
from alpharay.serve.transport.clients import Engines, JudgeClient

log = logging.getLogger("ray.serve")

Json = dict[str, Any]

_EXCHANGE_S = 1.0
_CLUSTER_STATE_S = 2.0


class ClientGone(Exception):
    """The client closed its connection before its answer was ready."""


class Server:
    """What the routes work with."""

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
        self.counts = metrics.Counts()
        file = config.router.portfolio
        portfolio = read_portfolio(file, self.by_name) if file is not None else None
        self.learning = Learning(store, members, self.counts, portfolio=portfolio, keep_s=config.store_keep_s)
        self.ensemble = Ensemble(engines, judging, self.counts)
        self.rotation = itertools.count()
        self.in_flight = 0
        self.draining = False
        path = config.server.api_keys_file
        self.keys = KeyRing(path) if path is not None else None
        self.limits = Limits()
        self.bodies = Bodies(config.server.held_mb)
        self.conversations = Conversations()
        self.started = int(time.time())
        self._cluster_state = cluster_state
        self._name = uuid.uuid4().hex
        self._overview = Overview()
        self._revision = revision
        self._was_ready = False

    def admit(self, endpoint: str) -> RequestContext:
        """A place for one request. Raises RequestError (503): full, or draining."""
        problem = None
        if self.draining:
            problem, reason = "the server is shutting down", "draining"
        elif self.in_flight >= self.config.server.max_queued:
            problem, reason = f"{self.in_flight} requests are already under way or waiting", "queue_full"
        if problem:
            self.counts.rejections.labels(reason).inc()
            self.counts.requests.labels(endpoint, "refused").inc()
            raise no_capacity(problem)
        return RequestContext(self, endpoint)

    def key_of(self, headers: Iterable[tuple[str, str]]) -> Key | None:
        """The key that a request brings; None where the server asks for none. Raises RequestError (401)."""
        if self.keys is None:
            return None
        try:
            return self.keys.find(headers)
        except RequestError:
            self.counts.rejections.labels("unauthorized").inc()
            raise

    def allow(self, key: Key | None) -> RateLimitLease | None:
        """Leave for one request of that key. Raises RequestError (429)."""
        if key is None:
            return None
        with self._limited():
            return self.limits.enter(key)

    def charge(self, lease: RateLimitLease, samples: int) -> None:
        """Reserves samples of the key's day. Raises RequestError (429)."""
        with self._limited():
            lease.spend(samples)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        try:
            yield
        except RequestError:
            self.counts.rejections.labels("key_limit").inc()
            raise

    def drain(self, seconds: float) -> None:
        """Lets nothing more in; budgets under way end within that time, with the best so far."""
        self.draining = True
        self.ensemble.drain(seconds)

    def not_ready(self) -> str | None:
        """Why requests should go elsewhere; None once every member could answer, and while any of them can."""
        if self.draining:
            return "the server is shutting down"
        states = self._overview.members
        if not states:
            return "not ready: the members have not reported yet"
        starting = [name for name, state in states.items() if not state.started]
        if starting and not self._was_ready:
            return f"not ready: {', '.join(starting)} did not start yet"
        if not any(state.up for state in states.values()):
            return "not ready: no member can answer"
        self._was_ready = True
        return None

    def degraded(self) -> list[str]:
        """The members that cannot answer now."""
        return [name for name, state in self._overview.members.items() if not state.up]

    def is_down(self, name: str) -> bool:
        """Whether the cluster state knows of no engine of that member that can answer now."""
        state = self._overview.members.get(name)
        return state is not None and not state.up

    @property
    def judge_is_down(self) -> bool:
        """Whether the cluster state was reached and knows of no judge that can answer now."""
        return bool(self._overview.members) and not self._overview.judge.layer

    def load(self) -> dict[str, float]:
        """How busy the engines are, under vLLM's names: requests that wait in them, and the fullest one's cache."""
        states = self._overview.members.values()
        return {
            "kv_cache_usage_perc": max((state.cache_usage for state in states), default=0.0),
            "num_requests_waiting": float(sum(state.waiting for state in states)),
        }

    def router_state(self) -> RouterState:
        """What is known of the members from all earlier requests, over all ingress replicas."""
        return self.learning.router_state()

    async def exchange_forever(self) -> None:
        """Keeps the cluster state told of what was counted here, and this replica told of everything else."""
        while True:
            await self.exchange()
            await asyncio.sleep(_EXCHANGE_S)

    async def exchange(self) -> None:
        if self.keys is not None:
            self.keys.look()
        try:
            report = IngressReport(
                counted=self.counts.snapshot(),
                in_flight=self.in_flight,
                draining=self.draining,
                keys=self.limits.used(),
                revision=self._revision,
            )
            async with asyncio.timeout(
                _CLUSTER_STATE_S
            ):  # a handle waits for a lost replica as long as it takes
                self._overview = await self._cluster_state.exchange.remote(self._name, report)
        except Exception:
            log.warning(
                "the cluster state is unreachable; counts of other replicas are missing for now",
                exc_info=True,
            )
        else:
            self.limits.others = self._overview.keys
            if self._overview.drain_s is not None and not self.draining:
                self.drain(self._overview.drain_s)

    async def metrics_page(self) -> bytes:
        """The sum over all ingress replicas; the others as last heard of while the cluster state is unreachable."""
        await self.exchange()
        return metrics.page(self._counted(), self._gauges())

    def _counted(self) -> metrics.Snapshot:
        return metrics.add([self._overview.counted, self.counts.snapshot()])

    def _gauges(self) -> list[Metric]:
        states = self._overview.members
        return [
            metrics.gauge("alpharay_replica_up", "Replicas of the member whose engine can answer.", ["member"],
                          [([name], state.up) for name, state in states.items()]),
            metrics.gauge("alpharay_degraded_members", "Members without an engine that can answer.", [],
                          [([], len(self.degraded()))]),
            metrics.counter("alpharay_replica_restarts", "Engine starts in place of an engine that was lost.", ["member"],
                            [([name], state.restarts) for name, state in states.items()]),
            metrics.gauge("alpharay_engine_requests", "Requests that hold a place in the member's engines.", ["member"],
                          [([name], state.unfinished) for name, state in states.items()]),
            metrics.gauge("alpharay_requests_in_flight", "Requests being answered by the scraped replica.", [],
                          [([], self.in_flight)]),
            metrics.gauge("alpharay_judge_up", "Whether a judge can run programs.", [],
                          [([], bool(self._overview.judge.layer))]),
            metrics.gauge("alpharay_judge_queue_depth", "Candidates waiting for a judge.", [],
                          [([], self._overview.judge.queue_depth)]),
            metrics.gauge("alpharay_router_weight", "Share of the budget that the configured policy gives the member.",
                          ["member"], [([name], share) for name, share in self._weights().items()]),
            metrics.gauge("alpharay_store_up", "1 while the scraped replica reaches the store; 0: learning is paused.", [],
                          [([], not self.learning.down)]),
            metrics.gauge("alpharay_checkpoint_info", "1 for every member served, with its alpha, weights and checkpoint.",
                          ["member", "alpha", "weights", "sha256"],
                          [(m.labels, 1) for m in self.members]),
        ]  # fmt: skip

    def _weights(self) -> dict[str, float]:
        """The split that the configured policy makes of a large budget."""
        members = [member.as_member for member in self.members]
        samples = 20 * len(members)
        state = PolicyState(members=members, budget=samples, router_state=self.router_state())
        names = POLICIES[self.config.router.policy]().allocate(samples, state)
        return {member.name: names.count(member.name) / samples for member in members}

    def models(self) -> list[Json]:
        """The ensemble first, then its members, as `/v1/models` lists them."""
        alphas = [member.alpha for member in self.members]
        ensemble = {"kind": "ensemble", "alphas": alphas, "members": [member.name for member in self.members]}
        return [
            self._model(self.config.name, ensemble),
            *(self._model(m.name, m.note) for m in self.members),
        ]

    def model(self, name: str) -> Json:
        """Raises RequestError (404)."""
        wanted = find_member(self.members, name)
        for model in self.models():
            if model["id"] == (wanted.name if wanted else name):
                return model
        raise self.unknown_model(name)

    def unknown_model(self, name: str) -> RequestError:
        known = [self.config.name, *self.by_name]
        return RequestError(
            404,
            f"the model {shown(name)} is not served here{did_you_mean(name, known)}",
            param="model",
            code="model_not_found",
        )

    def _model(self, name: str, note: Json) -> Json:
        return {
            "id": name,
            "object": "model",
            "created": self.started,
            "owned_by": "alpharay",
            "root": name,
            "parent": None,
            "max_model_len": self.config.engine.max_model_len,
            "alpharay": note,
        }


class RequestContext:
    """One request from its admission to the end of its answer; counts how it ended, once.

    arrived: when it came (monotonic). lease: of its API key, if any. answer: the id within its answer's own id, once it
    has one. direct: samples that one engine answers by itself: they are drawn, or lost with the whole request.

    Use it as a context manager. An answer that is streamed ends later than its handler: `stay()` hands the end over to
    whoever calls `end()`.
    """

    def __init__(self, server: Server, endpoint: str) -> None:
        self._server = server
        self._endpoint = endpoint
        self.arrived = time.monotonic()
        self._ended = False
        self._stays = False
        self._texted = False
        self.lease: RateLimitLease | None = None
        self.answer = ""
        self.direct = 0
        server.in_flight += 1
        self.body = server.bodies.share()  # what its body holds of the room for all

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or not self._stays:
            self.end(outcome_of(error))

    def stay(self) -> None:
        self._stays = True

    def draws_directly(self, samples: int) -> None:
        if self.lease is not None:
            self.direct = samples
            self.lease.drew(samples)

    def first_text(self) -> None:
        """The first text of a streamed answer goes out."""
        if not self._texted:
            self._texted = True
            self._server.counts.first_token.observe(time.monotonic() - self.arrived)

    def end(self, outcome: str) -> None:
        if self._ended:
            return
        self._ended = True
        self._server.in_flight -= 1
        if self.lease is not None:
            if self.direct and outcome not in {"ok", "client_gone"}:
                self.lease.lost(self.direct)
            self.lease.end()
        seconds = time.monotonic() - self.arrived
        self._server.counts.requests.labels(self._endpoint, outcome).inc()
        self._server.counts.duration.labels(self._endpoint).observe(seconds)
        logs.ended(self._endpoint, outcome, seconds, self.answer)
        self.body.release()


def outcome_of(error: BaseException | None) -> str:
    """The `outcome` label of a request that ended so."""
    if error is None:
        return "ok"
    if isinstance(error, asyncio.CancelledError | ClientGone | GeneratorExit):
        return "client_gone"
    if isinstance(error, RequestError):
        return "invalid" if error.status < 500 else "unavailable"
    return "fault"
