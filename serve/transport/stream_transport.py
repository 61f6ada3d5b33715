"""Streamed bytes from the hosts to an ingress: one connection for all streams, one write for all of a moment.

A message through a Ray handle costs about half a millisecond of CPU at each end, as much as the engine needs for a
token. So a streamed request still goes to its host through its handle, which places it, counts it, and tells of its
end; only the bytes of its answer take this way. The ingress listens where its node's address can be reached, and each
host that is asked for a stream connects to it once. What all streams of a host give within a moment is one write, and
the events in it stay as the engine made them.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import secrets
import struct
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

# A stream's number and how many bytes follow; none: its end.
_FRAME = struct.Struct("!QI")
_SECRET_BYTES = 32
# What comes soon after the last write waits for the next one, the longer the more streams share it: a single stream
# goes token by token, and at 25 and more the events of a twentieth of a second are one write.
_GATHER_S = 0.002
_GATHER_AT_MOST_S = 0.05
_CONNECT_S = 5.0
# An ingress that has taken nothing of so much is as good as gone.
_MOST_UNSENT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class StreamId:
    """Where a stream's bytes are awaited: an ingress, what it knows its hosts by, and the stream's number there."""

    address: str
    port: int
    secret: bytes = field(repr=False)
    number: int


class StreamListener:
    """The ingress's end: listens, and gives each stream what arrives for it."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(_SECRET_BYTES)
        self._numbers = itertools.count(1)
        self._incoming_streams: dict[int, StreamReceiver] = {}
        self._connections: set[_Receiver] = set()
        self._server: asyncio.Server | None = None
        self._address = ("", 0)

    async def listen(self, address: str) -> None:
        """address: of this node, as the others reach it."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Receiver(self), address, 0)
        self._address = (address, self._server.sockets[0].getsockname()[1])

    def expect(self) -> StreamReceiver:
        """A stream that a host will be asked for; close it in the end."""
        incoming = StreamReceiver(self, StreamId(*self._address, self._secret, next(self._numbers)))
        self._incoming_streams[incoming.stream_id.number] = incoming
        return incoming

    def forget(self, incoming: StreamReceiver) -> None:
        self._incoming_streams.pop(incoming.stream_id.number, None)

    def admits(self, secret: bytes) -> bool:
        return hmac.compare_digest(secret, self._secret)

    def joined(self, receiver: _Receiver) -> None:
        self._connections.add(receiver)

    def left(self, receiver: _Receiver) -> None:
        """What came through that connection and has not ended never will."""
        self._connections.discard(receiver)
        for incoming in list(self._incoming_streams.values()):
            if incoming.source is receiver:
                incoming.fail(ConnectionError("the connection to the engine's host broke"))

    def deliver(self, receiver: _Receiver, number: int, part: bytes) -> None:
        incoming = self._incoming_streams.get(number)
        if incoming is not None:  # else nobody waits for it any more
            incoming.source = receiver
            incoming.put(part)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for receiver in list(self._connections):
            receiver.close()


class StreamReceiver:
    """One stream's bytes, as much at a time as has arrived. `fail` ends it early, after what is already there."""

    def __init__(self, listener: StreamListener, stream_id: StreamId) -> None:
        self.stream_id = stream_id
        self.source: _Receiver | None = None
        self._listener = listener
        self._parts: deque[bytes] = deque()
        self._ended = False
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def put(self, part: bytes) -> None:
        if part:
            self._parts.append(part)
        else:
            self._ended = True
        self._news.set()

    def fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._news.set()

    async def parts(self) -> AsyncIterator[bytes]:
        """Raises what it failed with."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._parts:
                part = b"".join(self._parts)
                self._parts.clear()
                self._news.set()  # an end may be behind it
                yield part
            elif self._ended:
                return
            elif self._error is not None:
                raise self._error

    def close(self) -> None:
        self._listener.forget(self)


class _Receiver(asyncio.Protocol):
    """One host's connection: a secret, then frames."""

    def __init__(self, listener: StreamListener) -> None:
        self._listener = listener
        self._known = False
        self._rest = b""
        self._transport: asyncio.BaseTransport | None = None
        self._waiting: asyncio.TimerHandle | None = None  # closes it unless it says the secret in time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._listener.joined(self)
        self._waiting = asyncio.get_running_loop().call_later(_CONNECT_S, self.close)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        if self._waiting is not None:
            self._waiting.cancel()
        self._listener.left(self)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at = 0
        if not self._known:
            if len(data) < _SECRET_BYTES:
                self._rest = data
                return
            if not self._listener.admits(data[:_SECRET_BYTES]):
                self.close()
                return
            self._known = True
            if self._waiting is not None:
                self._waiting.cancel()
            at = _SECRET_BYTES
        while len(data) - at >= _FRAME.size:
            number, size = _FRAME.unpack_from(data, at)
            end = at + _FRAME.size + size
            if end > len(data):
                break
            self._listener.deliver(self, number, data[at + _FRAME.size : end])
            at = end
        self._rest = data[at:]

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class StreamSenders:
    """A host's end: its connections, one to each ingress that has asked it for a stream."""

    def __init__(self) -> None:
        self._senders: dict[bytes, asyncio.Future[StreamSender]] = {}

    async def to(self, stream_id: StreamId) -> StreamSender:
        """The connection to that ingress. Raises OSError or TimeoutError: it cannot be reached."""
        opening = self._senders.get(stream_id.secret)
        if opening is None or _is_over(opening):
            opening = self._senders[stream_id.secret] = asyncio.ensure_future(StreamSender.open(stream_id))
            self._senders = {key: other for key, other in self._senders.items() if not _is_over(other)}
        return await asyncio.shield(opening)

    def close(self) -> None:
        for opening in self._senders.values():
            if opening.done() and not opening.exception():
                opening.result().close()
            opening.cancel()


def _is_over(opening: asyncio.Future[StreamSender]) -> bool:
    return opening.done() and (opening.exception() is not None or opening.result().lost.is_set())


class StreamSender(asyncio.Protocol):
    """One connection to one ingress."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._streams: set[int] = set()  # whose bytes wait
        self._next = 0.0  # the earliest time of the next write
        self._planned: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, stream_id: StreamId) -> StreamSender:
        async with asyncio.timeout(_CONNECT_S):
            transport, sender = await asyncio.get_running_loop().create_connection(
                cls, stream_id.address, stream_id.port
            )
        transport.write(stream_id.secret)
        return sender

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self.lost.set()

    def send(self, number: int, part: bytes) -> None:
        """Empty: the stream's end. Raises ConnectionError: the ingress is gone."""
        if self.lost.is_set():
            raise ConnectionError("the connection to the ingress broke")
        self._waiting += (_FRAME.pack(number, len(part)), part)
        self._streams.add(number)
        if not part:  # nobody waits for what comes after an end
            self._flush()
        elif self._planned is None:
            # Even the first waits for what else this turn of the loop brings.
            self._planned = self._loop.call_at(max(self._next, self._loop.time()), self._flush)

    def _flush(self) -> None:
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None
        data = b"".join(self._waiting)
        self._next = self._loop.time() + min(_GATHER_AT_MOST_S, _GATHER_S * len(self._streams))
        self._waiting.clear()
        self._streams.clear()
        if self._transport is not None and not self.lost.is_set():
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
                self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
