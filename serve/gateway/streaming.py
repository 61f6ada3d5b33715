"""Answers that keep their connection alive and let go of everything when the client leaves."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from alpharay.serve.gateway.admission import ClientGone, RequestContext, outcome_of

T = TypeVar("T")

# How long a streamed request may go unanswered before its headers are sent: long enough for an engine
# to refuse it with a proper status, short enough for every client.
HEADERS_AFTER_S = 2.0
# A client that has stopped reading holds engine slots, memory and its place. One that is slow gets on within this.
_READS_S = 120.0


async def unless_gone(http: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client closes its connection first.

    The request's body must have been read. Raises ClientGone.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(http.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        await let_go(working, leaving)


async def opened(
    http: Request, context: RequestContext, source: EventSource, content_type: str | None = None
) -> EventStream:
    """The stream, once it is known not to be a refusal. Raises RequestError, and ClientGone."""
    try:
        await unless_gone(http, source.open())
    except BaseException:
        await source.aclose()
        raise
    return EventStream(context, source, *([content_type] if content_type else []))


class EventSource(AsyncIterator[bytes]):
    """The events of one streamed answer.

    `open()` it first: until then nothing has been sent, and a refusal has its proper status. `aclose()` lets go of all
    that it holds, opened or not.
    """

    @abstractmethod
    async def open(self) -> None:
        """Raises RequestError."""

    @abstractmethod
    async def aclose(self) -> None: ...


class EventStream(Response):
    """A stream that belongs to one request: server-sent events, or what `content_type` says.

    Unlike Starlette's streamed answer it closes its source also when it is cancelled before the first
    event, so that no engine slot is left behind.
    """

    def __init__(
        self,
        context: RequestContext,
        source: EventSource,
        content_type: str = "text/event-stream; charset=utf-8",
    ) -> None:
        super().__init__(headers={"Content-Type": content_type, "Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._context = context
        self._source = source
        context.stay()

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - ASGI's signature
        receive: Receive,
        send: Send,
    ) -> None:
        sending = asyncio.ensure_future(self._send_all(send))
        leaving = asyncio.ensure_future(_left(receive))
        error: BaseException | None = None
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise ClientGone
            sending.result()
        except ClientGone as gone:
            error = gone  # nobody is left to answer
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._context.end(outcome_of(error))
            # When a client leaves, Ray both says so and cancels the request: letting go must outlast that.
            self._closing = asyncio.ensure_future(self._close(sending, leaving))
            await asyncio.shield(self._closing)

    async def _send_all(self, send: Send) -> None:
        reading = _Reading()
        try:
            reading.begin()
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            reading.end()
            async for chunk in self._source:
                reading.begin()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                reading.end()
            reading.begin()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            if not reading.stopped:
                raise
            raise ClientGone from None
        finally:
            reading.close()

    async def _close(self, *tasks: asyncio.Future[None]) -> None:
        await let_go(*tasks)
        await self._source.aclose()


class _Reading:
    """Cancels the task in which it is made where a client takes nothing of one message for `_READS_S`.

    One timer a stream, which looks when the latest message began: a timeout of its own costs as much as a message.
    stopped: whether it has cancelled the task.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer = self._loop.call_later(_READS_S, self._look)

    def begin(self) -> None:
        self._since = self._loop.time()

    def end(self) -> None:
        self._since = None

    def close(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        since = now if self._since is None else self._since
        if now - since < _READS_S:
            self._timer = self._loop.call_at(since + _READS_S, self._look)
        elif self._task is not None:
            self.stopped = True
            self._task.cancel()


async def either(work: asyncio.Future[Any], event: asyncio.Event, at_most_s: float | None) -> None:
    """Waits for the end of the work or the event, at most so long."""
    happening = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({work, happening}, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        happening.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def let_go(*tasks: Awaitable[Any]) -> None:
    """Cancels those that still run and waits until they have cleaned up."""
    for task in tasks:
        if isinstance(task, asyncio.Future) and not task.done():
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
