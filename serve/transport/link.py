"""One connection between an ingress and a host, shared by all that passes between the two: frames, both ways.

The ingress listens where its node's address can be reached; a host that is called by it connects once, and shows the
secret that it was called with. What is sent within a moment is one write.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

# The number of what a frame belongs to, and how many bytes follow.
_FRAME = struct.Struct("!QI")
_SECRET_BYTES = 32
# A part of a stream that comes soon after the last write waits for the next one, the longer the more streams share it:
# a single stream goes token by token, and at 25 and more the events of a twentieth of a second are one write.
_GATHER_S = 0.002
_GATHER_AT_MOST_S = 0.05
_CONNECT_S = 5.0
# A peer that has taken nothing of so much for so long is as good as gone.
_MOST_UNSENT_BYTES, _STUCK_S = 64 << 20, 30.0
# One that the network has silently lost is found out within half a minute. Idle seconds, seconds between probes, probes;
# milliseconds that what was sent may stay unacknowledged.
_KEEP_ALIVE = (10, 5, 3)
_UNACKNOWLEDGED_MS = 20_000

Receive = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Address:
    """The address an ingress listens on, and the secret that authenticates its engine replicas."""

    host: str
    port: int
    secret: bytes = field(repr=False)


class Link(asyncio.Protocol):
    """Either end. receivers: by number, what takes the frames that arrive; others are dropped. when_lost: called at its end."""

    def __init__(self) -> None:
        self.receivers: dict[int, Receive] = {}
        self.when_lost: set[Callable[[], None]] = set()
        self.lost = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._unsent: list[bytes] = []
        self._streams: set[object] = set()  # whose parts wait
        self._next = 0.0  # the earliest time of the next write that nobody waits for
        self._planned: asyncio.TimerHandle | asyncio.Handle | None = None
        self._behind = (0, 0.0)  # bytes that wait beyond the bound, and since when no fewer
        self._urgent = False  # whether what is planned is the end of this turn of the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        connection = transport.get_extra_info("socket")
        idle, between, probes = _KEEP_ALIVE
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, between)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self.lost = True
        for callback in list(self.when_lost):
            callback()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _FRAME.size:
            number, size = _FRAME.unpack_from(self._buffer, start)
            end = start + _FRAME.size + size
            if end > len(self._buffer):
                break
            self.deliver(number, bytes(self._buffer[start + _FRAME.size : end]))
            start = end
        del self._buffer[:start]

    def deliver(self, number: int, payload: bytes) -> None:
        receive = self.receivers.get(number)
        if receive is not None:
            receive(payload)

    def send(self, number: int, payload: bytes, *, stream: object = None) -> None:
        """Goes out at the end of this turn of the loop.

        stream: of which it is a part that may wait a little for others; it never overtakes, nor is overtaken.

        Raises ConnectionError: the other end is gone.
        """
        if self.lost:
            raise ConnectionError("the connection between ingress and host broke")
        self._unsent += (_FRAME.pack(number, len(payload)), payload)
        if stream is not None:
            self._streams.add(stream)
        if stream is None and not self._urgent:
            if self._planned is not None:
                self._planned.cancel()
            self._urgent = True
            self._planned = self._loop.call_soon(self._flush)
        elif self._planned is None:
            self._planned = self._loop.call_at(max(self._next, self._loop.time()), self._flush)

    def _flush(self) -> None:
        self._planned, self._urgent = None, False
        data = b"".join(self._unsent)
        self._unsent.clear()
        self._next = self._loop.time() + min(_GATHER_AT_MOST_S, _GATHER_S * len(self._streams))
        self._streams.clear()
        if self._transport is not None and not self.lost:
            self._transport.write(data)
            self._look_behind(self._transport)

    def _look_behind(self, transport: asyncio.Transport) -> None:
        waiting, now = transport.get_write_buffer_size(), self._loop.time()
        before, since = self._behind
        if waiting <= _MOST_UNSENT_BYTES:
            self._behind = 0, now
        elif not before or waiting < before:
            self._behind = waiting, now
        elif now - since > _STUCK_S:
            transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Listener:
    """The ingress's end: where its hosts connect."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(_SECRET_BYTES)
        self._receivers: dict[int, Callable[[Link, bytes], None]] = {}
        self._links: set[_Accepted] = set()
        self._server: asyncio.Server | None = None
        self._last = 0
        self.address = Address("", 0, self._secret)

    async def listen(self, host: str) -> None:
        """host: of this node, as the others reach it."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Accepted(self), host, 0)
        self.address = Address(host, self._server.sockets[0].getsockname()[1], self._secret)

    def expect(self, receive: Callable[[Link, bytes], None]) -> int:
        """A new number, of which `receive` takes what comes, over whatever link; `forget` it in the end."""
        self._last += 1
        self._receivers[self._last] = receive
        return self._last

    def forget(self, number: int) -> None:
        self._receivers.pop(number, None)

    def receiver(self, number: int) -> Callable[[Link, bytes], None] | None:
        return self._receivers.get(number)

    def joined(self, link: _Accepted) -> None:
        self._links.add(link)

    def left(self, link: _Accepted) -> None:
        self._links.discard(link)

    def admits(self, secret: bytes) -> bool:
        return hmac.compare_digest(secret, self._secret)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.close()


class _Accepted(Link):
    """The ingress's end of one host's connection: a secret, then frames."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener
        self._known = False
        self._waiting: asyncio.TimerHandle | None = None  # closes it unless it says the secret in time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.joined(self)
        self._waiting = self._loop.call_later(_CONNECT_S, self.close)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._listener.left(self)
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if not self._known:
            self._buffer += data
            if len(self._buffer) < _SECRET_BYTES:
                return
            if not self._listener.admits(bytes(self._buffer[:_SECRET_BYTES])):
                self.close()
                return
            self._known, data = True, bytes(self._buffer[_SECRET_BYTES:])
            self._buffer.clear()
            if self._waiting is not None:
                self._waiting.cancel()
        super().data_received(data)

    def deliver(self, number: int, payload: bytes) -> None:
        receive = self._listener.receiver(number)
        if receive is not None:  # else no receiver is waiting any more
            receive(self, payload)


class Links:
    """A host's end: its connections, one to each ingress that has called it."""

    def __init__(self) -> None:
        self._links: dict[bytes, asyncio.Future[Link]] = {}

    async def to(self, address: Address) -> Link:
        """The connection to that ingress. Raises OSError or TimeoutError: it cannot be reached."""
        opening = self._links.get(address.secret)
        if opening is None or _is_over(opening):
            opening = self._links[address.secret] = asyncio.ensure_future(_connect(address))
            self._links = {key: other for key, other in self._links.items() if not _is_over(other)}
        return await asyncio.shield(opening)

    def close(self) -> None:
        for opening in self._links.values():
            if not opening.done():
                opening.cancel()
            elif not _is_over(opening):
                opening.result().close()


def _is_over(opening: asyncio.Future[Link]) -> bool:
    return opening.done() and (
        opening.cancelled() or opening.exception() is not None or opening.result().lost
    )


async def _connect(address: Address) -> Link:
    async with asyncio.timeout(_CONNECT_S):
        transport, link = await asyncio.get_running_loop().create_connection(Link, address.host, address.port)
    transport.write(address.secret)
    return link
