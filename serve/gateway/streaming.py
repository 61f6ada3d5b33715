"""Answers that keep their connection alive and let go of everything when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from alpharay.serve.dialects.dialect import Replay
from alpharay.serve.gateway.server import ClientGone, RequestContext, outcome_of
from alpharay.serve.sampling.progress import Progress

T = TypeVar("T")

# How long a streamed request may go unanswered before its headers are sent: long enough for an engine
# to refuse it with a proper status, short enough for every client.
HEADERS_AFTER_S = 2.0
# Each message costs two hops between processes: steps that come close together share one.
_GATHER_S = 0.1


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
        await _let_go(working, leaving)


class EventStream(Response):
    """A server-sent event stream that belongs to one request.

    Unlike Starlette's streamed answer it closes its source also when it is cancelled before the first
    event, so that no engine slot is left behind.
    """

    def __init__(
        self,
        context: RequestContext,
        source: AsyncIterator[bytes],
        *,
        content_type: str = "text/event-stream",
    ) -> None:
        super().__init__(
            headers={
                "Content-Type": f"{content_type.partition(';')[0]}; charset=utf-8",
                "Cache-Control": "no-cache",
            }
        )
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
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._source:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _close(self, *tasks: asyncio.Future[None]) -> None:
        await _let_go(*tasks)
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


class Waiting(AsyncIterator[bytes]):
    """Progress, or keep-alive chunks, until `work` is done; then the events made of its result.

    work is cancelled by `aclose()`, started or not.
    """

    def __init__(
        self, work: asyncio.Future[T], events: Any, replay: Replay, every_s: float, progress: Progress
    ) -> None:
        self._work = work
        self._events = events
        self._replay = replay
        self._every_s = every_s
        self._opened = False
        self._alive_at = asyncio.get_running_loop().time()
        self._progress = progress
        self._rest: Any = None

    async def __anext__(self) -> bytes:
        if not self._opened:
            self._opened = True
            if opening := self._replay.open():
                return opening
        while self._rest is None:
            if not self._work.done():
                await self._work_or_news()
            # Steps are comments, which not every client counts as a sign of life.
            if out := self._progress.take() + self._keep_alive():
                return out
            if self._work.done():
                self._rest = iter(self._events(self._work))
        for chunk in self._rest:
            return bytes(chunk)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await _let_go(self._work)

    def _keep_alive(self) -> bytes:
        """Once every `every_s`, while work is under way."""
        now = asyncio.get_running_loop().time()
        if self._work.done() or now - self._alive_at < self._every_s:
            return b""
        self._alive_at = now
        return self._replay.keep_alive()

    async def _work_or_news(self) -> None:
        """Waits for either, at most until the next keep-alive is due; after news a moment more, so that few messages carry it."""
        news = asyncio.ensure_future(self._progress.news.wait())
        either: set[asyncio.Future[Any]] = {self._work, news}
        try:
            due = self._alive_at + self._every_s - asyncio.get_running_loop().time()
            await asyncio.wait(either, timeout=max(0.0, due), return_when=asyncio.FIRST_COMPLETED)
            if news.done():
                await asyncio.wait({self._work}, timeout=_GATHER_S)
        finally:
            news.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _let_go(*tasks: Awaitable[Any]) -> None:
    """Cancels those that still run and waits until they have cleaned up."""
    for task in tasks:
        if isinstance(task, asyncio.Future) and not task.done():
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
