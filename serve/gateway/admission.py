"""Who may come in: one ingress replica's room for requests and their bodies, API keys and their rate limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from alpharay.serve import logs, tracing
from alpharay.serve.errors import RequestError, no_capacity
from alpharay.serve.sections import Server as ServerConfig
from alpharay.serve.state.keys import Key, KeyRing
from alpharay.serve.state.limits import Limits, RateLimitLease
from alpharay.serve.state.metrics import Counts

# A request that finds no memory for its body may come back then.
_RETRY_AFTER_S = 2


class ClientGone(Exception):
    """The client closed its connection before its answer was ready."""


class Admission:
    """in_flight: requests that have not ended, `background` of them of batches. draining: nothing more comes in."""

    def __init__(self, config: ServerConfig, counts: Counts) -> None:
        self.counts = counts
        self.in_flight = 0
        self.background = 0
        self.draining = False
        self.keys = KeyRing(config.api_keys_file) if config.api_keys_file is not None else None
        self.limits = Limits()
        self.bodies = Bodies(config.held_mb)
        self._most = config.max_queued

    def admit(self, endpoint: str, headers: Iterable[tuple[str, str]]) -> RequestContext:
        """A place for one request, in the name of its API key.

        Raises RequestError: 401 for an unknown key, 503 when full or draining, 429 over the key's limits.
        """
        key = self.key_of(headers)
        problem = None
        if self.draining:
            problem, reason = "the server is shutting down", "draining"
        elif (waiting := self.in_flight - self.background) >= self._most:
            problem, reason = f"{waiting} requests are already under way or waiting", "queue_full"
        if problem:
            self.counts.rejections.labels(reason).inc()
            self.counts.requests.labels(endpoint, "refused").inc()
            raise no_capacity(problem)
        return self._let_in(endpoint, key)

    def admit_background(self, endpoint: str, name: str) -> RequestContext:
        """A request of a batch: it takes no place of `max_queued`, and the limits of the key of that name count.

        Raises RequestError: 401 for a key that is gone, 503 when draining, 429 over the key's limits.
        """
        if self.draining:
            raise no_capacity("the server is shutting down")
        key = self.keys.named(name) if self.keys is not None else None
        return self._let_in(endpoint, key, background=True)

    def _let_in(self, endpoint: str, key: Key | None, *, background: bool = False) -> RequestContext:
        context = RequestContext(self, endpoint, background=background)
        if key is not None:
            try:
                with self._limited():
                    context.lease = self.limits.enter(key)
            except RequestError as error:
                context.end(outcome_of(error))
                raise
        return context

    def key_of(self, headers: Iterable[tuple[str, str]]) -> Key | None:
        """The key that a request brings; None where the server asks for none. Raises RequestError (401)."""
        if self.keys is None:
            return None
        try:
            return self.keys.find(headers)
        except RequestError:
            self.counts.rejections.labels("unauthorized").inc()
            raise

    def check_admin(self, headers: Iterable[tuple[str, str]]) -> None:
        """Raises RequestError: 401 for an unknown key; 403 for one that is no admin's, or on a server without keys."""
        key = self.key_of(headers)
        if key is None or not key.admin:
            reason = f"the key {key.name!r} is none" if key else "this server has no `server.api_keys_file`"
            raise RequestError(
                403,
                f"this needs an admin key, and {reason}; make one with `alpharay keys NAME --admin`",
                code="admin_key_required",
            )

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


class RequestContext:
    """One request from its admission to the end of its answer; counts how it ended, once.

    arrived: when it came (monotonic). lease: of its API key, if any. answer: the id within its answer's own id, once it
    has one. trace: of OpenTelemetry, which ends with it. direct: samples that one engine answers by itself: they are drawn, or lost with the whole request.

    Use it as a context manager. An answer that is streamed ends later than its handler: `stay()` hands the end over to
    whoever calls `end()`.
    """

    def __init__(self, admission: Admission, endpoint: str, *, background: bool = False) -> None:
        self._admission = admission
        self._background = background
        self._endpoint = endpoint
        self.arrived = time.monotonic()
        self._ended = False
        self._stays = False
        self._texted = False
        self.lease: RateLimitLease | None = None
        self.answer = ""
        self.direct = 0
        self.trace = tracing.OFF
        admission.in_flight += 1
        admission.background += background
        self.body = Share(admission.bodies)  # what its body holds of the room for all

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
            self._admission.counts.first_token.observe(time.monotonic() - self.arrived)

    def end(self, outcome: str) -> None:
        if self._ended:
            return
        self._ended = True
        self._admission.in_flight -= 1
        self._admission.background -= self._background
        if self.lease is not None:
            if self.direct and outcome not in {"ok", "client_gone"}:
                self.lease.lost(self.direct)
            self.lease.end()
        self.body.release()
        seconds = time.monotonic() - self.arrived
        self._admission.counts.requests.labels(self._endpoint, outcome).inc()
        self._admission.counts.duration.labels(self._endpoint).observe(seconds)
        if self.trace.live:
            self.trace.end(outcome)
        logs.ended(self._endpoint, outcome, seconds, self.answer)


def outcome_of(error: BaseException | None) -> str:
    """The `outcome` label of a request that ended so."""
    if error is None:
        return "ok"
    if isinstance(error, asyncio.CancelledError | ClientGone | GeneratorExit):
        return "client_gone"
    if isinstance(error, RequestError):
        return "invalid" if error.status < 500 else "unavailable"
    return "fault"


class Bodies:
    """The memory of all bodies that one ingress replica holds, from their arrival to the end of their requests."""

    def __init__(self, limit_mb: float) -> None:
        self._limit = int(limit_mb * 1e6)
        self.held = 0

    def take(self, size: int, own: int) -> None:
        """own: what the request holds already. Raises RequestError: 503, or 413 where it would not fit alone."""
        if own + size > self._limit:
            raise RequestError(
                413,
                f"the request takes more than the {self._limit / 1e6:g} MB that all bodies may hold; "
                "raise server.max_held_mb or send less",
            )
        if self.held + size > self._limit:
            raise no_capacity(
                f"the bodies of the requests under way hold {self.held / 1e6:.0f} of {self._limit / 1e6:g} MB",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.held += size


class Share:
    """One request's part of what is held; given back by `release()`, once."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0

    def add(self, size: int) -> None:
        """Raises RequestError: 503, or 413 where it would not fit alone."""
        self._bodies.take(size, self.size)
        self.size += size

    def release(self) -> None:
        self._bodies.held -= self.size
        self.size = 0
