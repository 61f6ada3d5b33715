"""The door without engines and without Ray: one process, a pool of sandboxes, and the gateway's own checks.

It listens at once; requests wait until the sandboxes have passed their self-test.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from alpharay.judge.pool.pool import JudgePool
from alpharay.serve import spelling
from alpharay.serve.dialects import openai
from alpharay.serve.errors import PortInUse, RequestError, StartFailed
from alpharay.serve.gateway.admission import Admission, ClientGone
from alpharay.serve.gateway.door.judging import Door
from alpharay.serve.gateway.door.routes import JudgeRoutes
from alpharay.serve.gateway.http.gate import Gate
from alpharay.serve.gateway.http.http_head import BoundedHead
from alpharay.serve.sections import Judge, Server
from alpharay.serve.state import metrics
from alpharay.serve.state.metrics import Counts
from alpharay.serve.transport.local_judging import LocalJudging

log = logging.getLogger("ray.serve")

_CLIENT_GONE = 499
_KEYS_S = 1.0


class JudgeServer:
    """The application over a pool, which is started by `start()`."""

    def __init__(self, server: Server, judge: Judge) -> None:
        self.counts = Counts()
        self.admission = Admission(server, self.counts)
        self.pool = JudgePool(
            judge.worker_count, judge.sandbox, max_queued=judge.max_queued, packages=judge.packages
        )
        self.started = asyncio.Event()
        self.door = Door(LocalJudging(self.pool, self.started), self.counts, judge.max_queued)
        routes = JudgeRoutes(self.door, self.admission, judge, server.max_request_mb).handlers()
        self.app = Starlette(
            routes=[
                *(Route(path, handler, methods=["POST"]) for path, handler in routes.items()),
                Route("/health", self._health),
                Route("/ping", self._health, methods=["GET", "POST"]),
                Route("/ready", self._ready),
                Route("/metrics", self._metrics),
                Route("/version", self._version),
            ],
            middleware=[Middleware(Gate, config=server, refuse=_refusal, load=dict)],
            exception_handlers={
                RequestError: _refused,
                HTTPException: _no_such_route,
                ClientGone: lambda _http, _error: Response(status_code=_CLIENT_GONE),
                Exception: _fault,
            },
        )

    async def start(self) -> None:
        """Raises SandboxUnavailable."""
        await self.pool.start()
        self.started.set()

    async def look_at_keys(self) -> None:
        """Reads the keys file again when it changes."""
        while self.admission.keys is not None:
            self.admission.keys.look()
            await asyncio.sleep(_KEYS_S)

    async def close(self) -> None:
        await self.pool.close()

    async def _health(self, _http: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, http: Request) -> Response:
        if self.admission.draining or not self.started.is_set():
            reason = (
                "the server is shutting down"
                if self.admission.draining
                else "the sandboxes are being started"
            )
            return _refusal(http.scope, RequestError(503, reason, code="not_ready", retry_after_s=1))
        return JSONResponse({"status": "ready", "sandbox": self.pool.layer})

    async def _version(self, _http: Request) -> Response:
        return JSONResponse({"version": version("alpharay"), "alpharay": version("alpharay")})

    async def _metrics(self, _http: Request) -> Response:
        gauges = [
            metrics.gauge("alpharay_requests_in_flight", "Requests being answered.", [], [([], self.admission.in_flight)]),
            metrics.gauge("alpharay_judge_up", "Whether a judge can run programs.", [], [([], self.started.is_set())]),
            metrics.gauge("alpharay_judge_queue_depth", "Candidates waiting for a judge.", [], [([], self.pool.queue_depth)]),
        ]  # fmt: skip
        failed = metrics.of_failures(self.pool.failures)
        page = metrics.page(metrics.add([self.counts.snapshot(), failed]), gauges)
        return Response(page, headers={"Content-Type": metrics.CONTENT_TYPE})


def serve(server: Server, judge: Judge, say: Callable[[str], None]) -> None:
    """Listens until SIGINT or SIGTERM, lets what is under way end within `server.drain_s`, and ends every sandbox.

    say: told the one line when it listens. Raises PortInUse, StartFailed, and SandboxUnavailable.
    """
    asyncio.run(_serve(server, judge, say))


async def _serve(server: Server, judge: Judge, say: Callable[[str], None]) -> None:
    listener = _bound(server)
    here = JudgeServer(server, judge)
    http = uvicorn.Config(
        here.app,
        http=BoundedHead,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(server.drain_s)),
    )
    listening = _Listening(http)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        here.admission.draining = True
        listening.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    serving = asyncio.create_task(listening.serve(sockets=[listener]))
    starting = asyncio.create_task(here.start())
    keys = asyncio.create_task(here.look_at_keys())
    try:
        await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await starting  # raises what hinders it
            host, port = listener.getsockname()[:2]
            say(f"ready http://{f'[{host}]' if ':' in host else host}:{port}")
        await serving
    finally:
        for task in (starting, keys):
            task.cancel()
        stop()
        await asyncio.gather(serving, starting, keys, return_exceptions=True)
        await here.close()


class _Listening(uvicorn.Server):
    """Signals are the command's own affair."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bound(server: Server) -> socket.socket:
    """Raises PortInUse, and StartFailed for an address that is not this machine's."""
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((server.host, server.port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        where = f"{server.host}:{server.port}"
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"{where} is in use by another process; choose another with --port") from None
        raise StartFailed(f"cannot listen on {where}: {error.strerror or error}") from None
    return listener


async def _refused(http: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _refusal(http.scope, error)


async def _no_such_route(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code == 404:
        message = f"there is no {spelling.shown(http.scope['path'])} here, only /v1/judge and /run_code"
    answer = _refusal(http.scope, RequestError(error.status_code, message))
    answer.headers.update(error.headers or {})
    return answer


async def _fault(http: Request, error: Exception) -> Response:
    log.error("internal error", exc_info=error)
    message = f"a fault of the server, not of the request: {type(error).__name__}"
    return _refusal(http.scope, RequestError(500, message))


def _refusal(_scope: Scope, error: RequestError) -> Response:
    body: Any = openai.error_body(error)
    return Response(json.dumps(body), error.status, dict(error.headers), media_type="application/json")
