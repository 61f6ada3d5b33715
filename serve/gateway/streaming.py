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
            error = gone  # nobody is left to tell
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._context.end(outcome_of(error))
            # When a client leaves, Ray both says so and cancels the request: letting go must outlast that.
            self._closing = asyncio.ensure_future(self._close(sending, leaving))
            await asyncio.shield(self._closing)

    async def _send_all(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_READS_S) as reading:
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                reading.reschedule(None)
                async for chunk in self._source:
                    reading.reschedule(loop.time() + _READS_S)
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    reading.reschedule(None)
                reading.reschedule(loop.time() + _READS_S)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            if not reading.expired():
                raise
            raise ClientGone from None

    async def _close(self, *tasks: asyncio.Future[None]) -> None:
        await let_go(*tasks)
        await self._source.aclose()


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
