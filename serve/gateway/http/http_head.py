"""The head of a request (its first line and headers), bounded in time and size where the ingress itself listens.

uvicorn bounds neither: a connection on which a head never ends would stay for good, and hold what has come of it.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from alpharay.serve.dialects import openai
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway.http.gate import MAX_HEAD_BYTES, PLAIN_ID

HEAD_S = 30.0


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol with those bounds. A head that is whole and too large is answered by the application."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._unfinished = 0  # bytes of a head that has not ended yet
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        in_head = not self._in_body
        if in_head:
            if not self._unfinished:
                self._forget_head()  # it has its own time, however long it was waited for
            self._unfinished += len(data)
        if (
            in_head or self.cycle.response_complete
        ):  # what comes of a body after its answer is passed over, for as long
            self._await_head()
        super().data_received(data)
        if in_head and self._timer is not None and self._unfinished > MAX_HEAD_BYTES:
            self._close_with(431, f"the headers are larger than {MAX_HEAD_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id" and not PLAIN_ID.fullmatch(value.decode("latin-1")):
            return  # Ray Serve repeats it in the answer and on every line of the log; it makes one where none is given
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._forget_head()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._forget_head()
        self._in_body = False
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._close_with(400, msg)

    def _await_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self._head_is_late)

    def _forget_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._unfinished = None, 0

    def _head_is_late(self) -> None:
        self._timer = None
        if self._unfinished:
            self._close_with(408, f"the request's headers did not arrive within {HEAD_S:g} s")
        else:
            self.transport.close()

    def _close_with(self, status: int, message: str) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        body = json.dumps(openai.error_body(RequestError(status, message))).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
