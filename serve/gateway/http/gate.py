"""What every request passes before a route sees it: who may ask, from where, and the path that was meant."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alpharay.serve.environment import ONE_MACHINE
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway.http import orca
from alpharay.serve.gateway.http.hosts import Hosts, Origins, on_loopback
from alpharay.serve.sections import Server

Refuse = Callable[[Scope, RequestError], Response]

MAX_HEADERS = 100
MAX_HEAD_BYTES = 64 * 1024

# They change nothing, and a page of another origin cannot read what they give.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PINNED = re.compile(r"/members/(?P<member>[^/]+)(?P<path>/.+)")
_SLASHES = re.compile("/{2,}")
# An id that an answer repeats: of the client's choice, within bounds.
PLAIN_ID = re.compile(r"[\x21-\x7e]{1,128}")
_EXPOSED = ("request-id", "x-request-id", "retry-after", orca.HEADER)


def cross_origin(app: ASGIApp, config: Server) -> ASGIApp:
    """The application as pages of the origins in `server.cors` may use it: keys come in headers, never in cookies."""
    if not config.cors:
        return app
    return CORSMiddleware(
        app,
        allow_origins=config.cors,
        allow_methods=["*"],
        allow_headers=["*"],
        allow_private_network=True,
        expose_headers=_EXPOSED,
    )


class Gate:
    """ASGI middleware. refuse: an error as the answer in its dialect. load: named metrics, told where asked for."""

    def __init__(
        self, app: ASGIApp, config: Server, refuse: Refuse, load: Callable[[], Mapping[str, float]]
    ) -> None:
        alone = ONE_MACHINE in os.environ and on_loopback(config.host)
        self._hosts = Hosts(config, on_loopback=alone)
        self._origins = Origins(config)
        self._app = cross_origin(app, config)
        self._refuse = refuse
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._no_socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = scope
        headers = Headers(scope=asked)
        scope = pinned({**asked, "path": tidy(asked["path"])})
        send = _Answering(send, headers, head=asked["method"] == "HEAD", load=self._load)
        if asked["method"] == "HEAD":
            scope["method"] = "GET"
        try:
            self._check(asked["method"], headers, len(asked["headers"]))
        except RequestError as error:
            await self._refusal(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, error: RequestError) -> Response:
        answer = self._refuse(scope, error)
        if error.status == 426:
            answer.headers.update({"Upgrade": "HTTP/1.1", "Connection": "Upgrade, close"})
        return answer

    def _check(self, method: str, headers: Headers, count: int) -> None:
        """Raises RequestError."""
        size = sum(len(name) + len(value) for name, value in headers.raw)
        if count > MAX_HEADERS or size > MAX_HEAD_BYTES:
            raise RequestError(
                431,
                f"the request has {count} headers of {size} bytes; at most {MAX_HEADERS} of {MAX_HEAD_BYTES} bytes are read",
                code="headers_too_large",
            )
        if not self._hosts.admits(headers.getlist("host")):
            raise RequestError(
                403,
                f"the server does not answer to the name {headers.get('host', '')[:100]!r}; "
                "where it is its own, add it to server.allowed_hosts",
                code="host_not_allowed",
            )
        self._check_origin(method, headers)
        if "websocket" in headers.get("upgrade", "").lower():
            raise _no_upgrade()

    def _check_origin(self, method: str, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None:
            return
        preflight = method == "OPTIONS" and "access-control-request-method" in headers
        if method in _SAFE and not preflight:
            return
        if preflight and self._origins.lists(origin):
            return
        if len(headers.getlist("origin")) > 1 or not self._origins.admits(
            origin, headers.get("host", ""), headers.get("sec-fetch-site", "")
        ):
            raise RequestError(
                403,
                f"pages of the origin {origin[:100]!r} may not use this server; to let them, add it to server.cors",
                code="origin_not_allowed",
            )

    async def _no_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket that an HTTP server in front has accepted the start of: refused before it is open."""
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1002, "reason": "no WebSockets here"})
            return
        await self._refuse(scope, _no_upgrade())(scope, receive, send)


class _Answering:
    """`send` of one request, with the headers that every answer has; without a body for HEAD."""

    def __init__(
        self, send: Send, headers: Headers, *, head: bool, load: Callable[[], Mapping[str, float]]
    ) -> None:
        self._send = send
        self._head = head
        self._load = load
        given = headers.get("x-request-id", "")
        self._id = given if PLAIN_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        self._format = headers.get(orca.ASKED_BY, "")

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("request-id", self._id)
            headers.setdefault("X-Content-Type-Options", "nosniff")
            told = orca.told(self._format, self._load) if self._format and message["status"] == 200 else None
            if told:
                headers[orca.HEADER] = told
        elif self._head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def pinned(scope: Scope) -> Scope:
    """`/members/NAME/v1/…` as `/v1/…` with the header `X-Alpharay-Members: NAME`: for agents that know a base URL alone."""
    match = _PINNED.fullmatch(scope["path"])
    if match is None:
        return scope
    header = (b"x-alpharay-members", match["member"].encode())
    return {
        **scope,
        "path": match["path"],
        "raw_path": match["path"].encode(),
        "headers": [*scope["headers"], header],
    }


def tidy(path: str) -> str:
    """Base URLs are given with a slash too many."""
    path = _SLASHES.sub("/", path)
    return path.rstrip("/") or "/"


def _no_upgrade() -> RequestError:
    return RequestError(
        426,
        "there are no WebSockets here: send the request by HTTP, with `stream` for server-sent events",
        code="upgrade_required",
    )
