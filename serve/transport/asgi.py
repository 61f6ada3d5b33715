"""Calls an ASGI application in this process, whole or streamed, so that leaving early really cancels it.

vLLM's own HTTP application runs inside our replica without a port. httpx's ASGI transport collects the
whole answer before it returns any of it; here chunks come as they are sent, and a caller who goes away
reaches the application as a client disconnect, which makes vLLM free the engine slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
App = Callable[[Any, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

# How long an application may take to notice that its client is gone before it is cancelled outright.
_LEAVE_S = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    content_type: str
    body: bytes


@dataclass(slots=True)
class OpenReply:
    """An answer whose status has arrived and whose body is still coming."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]


@asynccontextmanager
async def open_call(app: App, path: str, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[OpenReply]:
    """POSTs a JSON body; leaving the block before the end disconnects."""
    sent: asyncio.Queue[Message | None] = asyncio.Queue()
    gone = asyncio.Event()
    inbox: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if inbox:
            return inbox.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        await sent.put(message)

    running = asyncio.ensure_future(app(_scope(path, body, headers), receive, send))
    running.add_done_callback(lambda _: sent.put_nowait(None))
    try:
        start = await sent.get()
        if start is None:
            running.result()  # raises what the application raised
            raise RuntimeError(f"the engine's application closed {path} without an answer")
        content_type = next(
            (value for name, value in start["headers"] if name.lower() == b"content-type"), b""
        )
        yield OpenReply(start["status"], content_type.decode("latin-1"), _chunks(sent, running))
    finally:
        gone.set()
        _, late = await asyncio.wait({running}, timeout=_LEAVE_S)
        for task in late:
            task.cancel()


async def call(app: App, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    """POSTs a JSON body and collects the answer; cancelling it disconnects."""
    async with open_call(app, path, body, headers) as reply:
        return Reply(reply.status, reply.content_type, b"".join([chunk async for chunk in reply.chunks]))


async def _chunks(sent: asyncio.Queue[Message | None], running: asyncio.Future[None]) -> AsyncIterator[bytes]:
    while (message := await sent.get()) is not None:
        if message["type"] == "http.response.body":
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body", False):
                return
    running.result()
    raise RuntimeError("the engine's application broke off its answer")


def _scope(path: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    own = {"host": "engine", "content-type": "application/json", "content-length": str(len(body))}
    return {
        "type": "http",
        # Before 2.4 Starlette's streamed answers listen for the disconnect themselves.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in {**headers, **own}.items()],
        "client": ("127.0.0.1", 0),
        "server": ("engine", 0),
    }
