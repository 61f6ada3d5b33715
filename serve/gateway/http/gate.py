"""What every request passes before a route sees it: who may ask, from where, and the path that was meant.

A browser runs pages of strangers inside the operator's network. Two checks keep them out: `Host` against DNS
rebinding (a page whose own name was pointed at this server), `Origin` against pages that send their requests here.
A client that is no browser sends no `Origin` and names the server as it knows it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alpharay.serve.environment import ONE_MACHINE
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway.http import orca
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
# What no public DNS name can end with: reserved names, and those that only a cluster or a local network resolves.
_PRIVATE = (".localhost", ".local", ".internal", ".svc")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?P<port>\d{1,5}))?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}

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
    """ASGI middleware. refuse: an error as the answer in its dialect. load: named metrics, for requests that ask for them."""

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
        method, headers = scope["method"], Headers(scope=scope)
        send = _Answering(send, headers, head=method == "HEAD", load=self._load)
        count = len(scope["headers"])
        scope = pinned({**scope, "path": tidy(scope["path"])})
        if method == "HEAD":
            scope["method"] = "GET"
        try:
            self._check(method, headers, count)
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
        own_id = headers.get("x-request-id", "")
        self._id = own_id if PLAIN_ID.fullmatch(own_id) else f"req_{uuid.uuid4().hex}"
        self._format = headers.get(orca.ASKED_BY, "")

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("request-id", self._id)
            headers.setdefault("X-Content-Type-Options", "nosniff")
            if (
                self._format
                and message["status"] == 200
                and (load := orca.load_header(self._format, self._load))
            ):
                headers[orca.HEADER] = load
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


class Hosts:
    """The names in a request's `Host` that are ours.

    Always: IP addresses (no name, nothing to rebind: probes, scrapes and port mappings use them), loopback's names,
    the configured address, and `server.allowed_hosts`. Beside them, unless the server listens on loopback only, those
    that no public DNS name looks like: this machine's, names without a dot (a container's, a service's), and private
    domains. Any name where API keys are asked for: a page that was rebound here brings none.
    """

    def __init__(self, config: Server, *, on_loopback: bool) -> None:
        """on_loopback: nothing but this machine reaches the server."""
        self._exact = {"localhost", _plain(config.host)}
        self._endings = [".localhost"]
        self._dotless = not on_loopback
        self._any = "*" in config.allowed_hosts or (
            not config.allowed_hosts and config.api_keys_file is not None
        )
        if not on_loopback:
            self._exact.update(_machine_names())
            self._endings.extend(_PRIVATE)
        for name in config.allowed_hosts:
            if name.startswith("*."):
                self._endings.append(name[1:])
            else:
                self._exact.add(_plain(name))

    def admits(self, values: list[str]) -> bool:
        """values: the request's `Host` headers. None at all is HTTP/1.0's way, which no browser uses."""
        if not values or values == [""]:
            return True
        match = _HOST.fullmatch(values[0])
        if len(values) > 1 or match is None:
            return False
        name = _plain(match["name"])
        return (
            self._any
            or name in self._exact
            or name.endswith(tuple(self._endings))
            or is_address(name)
            or (self._dotless and "." not in name)
        )


class Origins:
    """The web pages that may send work: those of this server, and `server.cors`."""

    def __init__(self, config: Server) -> None:
        self._listed = frozenset(config.cors)

    def admits(self, origin: str, host: str, fetch_site: str) -> bool:
        """fetch_site: `Sec-Fetch-Site`, which a page cannot set: behind a proxy that changes `Host` it alone decides."""
        if self.lists(origin) or fetch_site == "same-origin":
            return True
        scheme, _, authority = origin.lower().partition("://")
        default = _DEFAULT_PORTS.get(scheme)
        return default is not None and authority.removesuffix(f":{default}") == host.lower().removesuffix(
            f":{default}"
        )

    def lists(self, origin: str) -> bool:
        return "*" in self._listed or origin.lower() in self._listed


def on_loopback(host: str) -> bool:
    """Whether an address to listen at is reached from this machine only."""
    name = _plain(host)
    return name == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _plain(name: str) -> str:
    return name.lower().strip("[]").removesuffix(".")


def _machine_names() -> Iterator[str]:
    names: Iterable[str] = (socket.gethostname(), socket.getfqdn())
    yield from (_plain(name) for name in names if name)
