"""A request's head at our own listener: bounded in time and size, and a WebSocket's handshake is a request."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import uvicorn
from uvicorn.server import ServerState

from alpharay.serve.gateway.http.gate import MAX_HEAD_BYTES
from alpharay.serve.gateway.http.http_head import HEAD_S, BoundedHead

from .clock import pass_time

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


class Transport:
    """What a connection would have sent, and whether it was closed."""

    def __init__(self):
        self.sent, self.closed = b"", False

    def get_extra_info(self, _name):
        return None

    def write(self, data):
        assert not self.closed
        self.sent += data

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        pass

    resume_reading = pause_reading


@pytest.fixture
async def connect(serving):
    """connect() is a new connection to the listener in front of an ingress replica: its protocol and its transport."""
    seen = []

    async def app(scope, receive, send):
        seen.append(dict(scope["headers"]))
        await serving.app(scope, receive, send)

    def make():
        config = uvicorn.Config(app, http=BoundedHead, ws="none", lifespan="off", log_config=None, timeout_keep_alive=90)  # fmt: skip
        config.load()
        protocol, transport = BoundedHead(config, ServerState(), {}), Transport()
        protocol.connection_made(transport)
        return SimpleNamespace(feed=protocol.data_received, transport=transport, seen=seen)

    return make


def answered(transport):
    """(status, error message or None) of the first answer."""
    head, _, body = transport.sent.partition(b"\r\n\r\n")
    error = json.loads(body).get("error") if body.startswith(b"{") else None
    return int(head.split()[1]), error and error["message"]


@pytest.mark.parametrize("begun", [b"GET /", GET, GET + b"X-Slow: 1\r\n"])
async def test_a_head_that_does_not_end_is_a_408(connect, begun):
    connection = connect()
    connection.feed(begun)
    for _ in range(20):  # a byte now and then buys no time
        await pass_time(HEAD_S / 20 + 0.1)
        if not connection.transport.closed:
            connection.feed(b"a")
    assert connection.transport.closed
    assert answered(connection.transport)[0] == 408


async def test_a_connection_that_says_nothing_is_closed(connect):
    connection = connect()
    await pass_time(HEAD_S + 1)
    assert (connection.transport.closed, connection.transport.sent) == (True, b"")


@pytest.mark.parametrize(
    "part", [b"GET /" + b"a" * 4096, GET + b"X-Long: " + b"1" * 4096, GET + b"X: 1\r\n" * 600]
)
async def test_a_head_without_end_is_a_431(connect, part):
    connection = connect()
    fed = 0
    while not connection.transport.closed:
        connection.feed(part if not fed else part[len(GET) :])
        fed += len(part)
        assert fed < 4 * MAX_HEAD_BYTES
    status, message = answered(connection.transport)
    assert status == 431
    assert "headers" in message


async def test_a_connection_is_used_again_and_each_head_has_its_own_time(connect):
    connection = connect()
    for number in range(1, 4):
        await pass_time(HEAD_S * 0.8)
        connection.feed(GET)
        await pass_time(HEAD_S * 0.8)
        connection.feed(b"\r\n")
        await pass_time(1)
        assert connection.transport.sent.count(b"HTTP/1.1 200") == number
        assert not connection.transport.closed
    connection.feed(b"GET /hea")
    await pass_time(HEAD_S + 1)
    assert connection.transport.closed


async def test_a_body_may_take_longer_than_a_head(connect):
    connection = connect()
    body = json.dumps({"model": "nobody", "messages": [{"role": "user", "content": "x"}]}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.feed(head + b"Content-Length: %d\r\n\r\n" % len(body))
    await pass_time(HEAD_S + 5)
    connection.feed(body)
    await pass_time(1)
    assert answered(connection.transport)[0] == 404


async def test_the_rest_of_a_refused_body_is_passed_over_for_a_while(connect):
    connection = connect()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n"
    connection.feed(head)
    await pass_time(1)
    assert answered(connection.transport)[0] == 415
    for _ in range(3):
        connection.feed(b"x" * MAX_HEAD_BYTES)
    await pass_time(1)
    assert not connection.transport.closed
    await pass_time(HEAD_S)
    assert connection.transport.closed
    assert connection.transport.sent.count(b"HTTP/1.1") == 1


async def test_what_is_no_http_is_an_error_object(connect):
    connection = connect()
    connection.feed(b"\x16\x03\x01 TLS\r\n\r\n")
    assert answered(connection.transport)[0] == 400
    assert connection.transport.closed


@pytest.mark.parametrize("path", [b"/v1/responses", b"/v1/chat/completions"])
async def test_a_handshake_for_a_websocket_is_a_426_and_closes(connect, path):
    connection = connect()
    connection.feed(
        b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await pass_time(1)
    status, message = answered(connection.transport)
    assert status == 426
    assert "HTTP" in message
    assert connection.transport.closed


@pytest.mark.parametrize(
    ("request_id", "kept"), [(b"mine-1", True), (b"i" * 129, False), (b"two words", False), (b"\xff", False)]
)
async def test_an_id_that_is_none_is_not_repeated(connect, request_id, kept):
    connection = connect()
    connection.feed(GET + b"X-Request-ID: " + request_id + b"\r\n\r\n")
    await pass_time(1)
    assert answered(connection.transport)[0] == 200
    assert (b"x-request-id" in connection.seen[0]) is kept
    assert (b"request-id: " + request_id in connection.transport.sent) is kept


async def test_head_sends_no_body(connect):
    connection = connect()
    connection.feed(b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await pass_time(1)
    head, _, body = connection.transport.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: " in head
    assert body == b""
