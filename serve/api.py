"""The HTTP surface: routes, limits, and every error turned into the dialect's own error object, once."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from alpharay.serve import answer, metrics, pinned
from alpharay.serve.controls import Controls
from alpharay.serve.dialects import chat
from alpharay.serve.ensemble import Outcome
from alpharay.serve.errors import RequestError, malformed
from alpharay.serve.progress import Progress
from alpharay.serve.server import ClientGone, Server, Visit, outcome_of
from alpharay.serve.streaming import EventStream, Waiting, unless_gone
from alpharay.serve.understand import Ensembled, Pinned, understand

log = logging.getLogger("ray.serve")

Json = dict[str, Any]

# How long a streamed request may go unanswered before its headers are sent: long enough for an engine
# to refuse it with a proper status, short enough for every client.
_HEADERS_AFTER_S = 2.0
_KEEP_ALIVE_S = 10.0
# A body that trickles in holds a place among `server.max_queued` meanwhile.
_BODY_S = 60.0
# nginx's own status for a client that has gone; nobody reads it.
_CLIENT_GONE = 499

_KINDS = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}

_CHAT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["messages"],
                    "properties": {
                        "model": {"type": "string"},
                        "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
                        "n": {"type": "integer", "minimum": 1},
                        "seed": {"type": "integer"},
                        "temperature": {"type": "number"},
                        "max_tokens": {"type": "integer"},
                        "stream": {"type": "boolean"},
                        "alpharay": Controls.model_json_schema(),
                    },
                    "additionalProperties": True,
                }
            }
        },
    }
}


def build_app(server: Server) -> FastAPI:
    """The application of one ingress replica."""
    app = FastAPI(
        title="alpharay",
        version=version("alpharay"),
        description="A frontier of checkpoints as one OpenAI-compatible model whose answers have been run.",
    )

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> Response:
        return _error(error)

    @app.exception_handler(HTTPException)
    async def no_such_route(_: Request, error: HTTPException) -> Response:
        answer = _error(RequestError(error.status_code, str(error.detail)))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ClientGone)
    async def nobody_left(_request: Request, _error: ClientGone) -> Response:
        return Response(status_code=_CLIENT_GONE)

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> Response:
        log.error("a fault of ours", exc_info=error)
        return _error(RequestError(500, f"a fault of the server, not of the request: {type(error).__name__}"))

    @app.get("/health", summary="Whether the process is up")
    async def health() -> Json:
        return {"status": "ok"}

    @app.get("/ready", summary="Whether every member can answer; 503 while one cannot, and while draining")
    async def ready() -> Response:
        problem = server.not_ready()
        if problem:
            return _error(RequestError(503, problem, code="not_ready", retry_after_s=2))
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Prometheus metrics, summed over all ingress replicas")
    async def scrape() -> Response:
        return Response(await server.metrics_page(), headers={"Content-Type": metrics.CONTENT_TYPE})

    @app.get("/v1/models", summary="The ensemble and its members")
    async def models() -> Json:
        return {"object": "list", "data": server.models()}

    @app.get("/v1/models/{name:path}", summary="The ensemble or one member")
    async def model(name: str) -> Json:
        return server.model(name)

    @app.post(
        chat.PATH, summary="Chat completions, by the ensemble or a pinned member", openapi_extra=_CHAT_BODY
    )
    async def chat_completions(http: Request) -> Response:
        with server.admit("chat") as visit:
            return await _chat(server, http, visit)

    return app


async def _chat(server: Server, http: Request, visit: Visit) -> Response:
    try:
        request = chat.read(await _json_body(http, server))
        todo = understand(server, request, http.headers, uuid.uuid4().hex, secrets.randbits(62))
    except RequestError:
        server.counts.rejections.labels("invalid").inc()
        raise
    if isinstance(todo, Pinned):
        return await _pinned(server, http, todo, visit)
    if request.stream:
        return await _streamed(server, http, todo, visit)
    outcome = await unless_gone(http, server.ensemble.run(todo.job))
    return JSONResponse(_finished(server, todo, outcome))


async def _pinned(server: Server, http: Request, todo: Pinned, visit: Visit) -> Response:
    if not todo.request.stream:
        return JSONResponse(await unless_gone(http, pinned.answer(server, todo)))
    passing = pinned.Passing(server, todo, visit)
    try:
        content_type = await unless_gone(http, passing.open())
    except BaseException:
        await passing.aclose()
        raise
    return EventStream(visit, passing, content_type=content_type)


async def _streamed(server: Server, http: Request, todo: Ensembled, visit: Visit) -> Response:
    """A budget's answer as a stream: kept alive while candidates are drawn and run, then the winner's events."""
    progress = Progress()
    working = asyncio.ensure_future(server.ensemble.run(todo.job, progress.watch))

    def events(done: asyncio.Future[Outcome]) -> Iterator[bytes]:
        try:
            whole = _finished(server, todo, done.result())
        except RequestError as error:
            # The headers are out: the error can only be told as the stream's last event.
            visit.end(outcome_of(error))
            yield chat.event(_object(error))
            yield chat.DONE
            return
        visit.first_text()
        yield from chat.events(whole, include_usage=todo.job.request.include_usage)

    waiting = Waiting(working, events, chat.KEEP_ALIVE, _KEEP_ALIVE_S, progress)
    try:
        await unless_gone(http, _first(working, progress))
    except BaseException:
        await waiting.aclose()
        raise
    return EventStream(visit, waiting)


async def _first(working: asyncio.Future[Outcome], progress: Progress) -> None:
    """Waits a moment for a first sample; raises what it ended with, so that a refusal gets its proper status."""
    begun = asyncio.ensure_future(progress.begun.wait())
    either: set[asyncio.Future[Any]] = {working, begun}
    try:
        await asyncio.wait(either, timeout=_HEADERS_AFTER_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        begun.cancel()
    if working.done():
        working.result()


def _finished(server: Server, todo: Ensembled, outcome: Outcome) -> Json:
    chosen = answer.returned(outcome, todo.returns, todo.job.request.choices)
    answer.count(server.counts, outcome, chosen)
    return answer.whole(todo.job, outcome, chosen, server.by_name, server.config.name)


async def _json_body(http: Request, server: Server) -> Json:
    """Raises RequestError: 413 beyond the size limit, which is checked while reading; 400 for bad JSON."""
    limit = int(server.config.server.max_request_mb * 1e6)
    data = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in http.stream():
                data += chunk
                if len(data) > limit:
                    raise RequestError(
                        413,
                        f"the request is larger than {limit / 1e6:g} MB; "
                        "raise server.max_request_mb or send fewer tests",
                    )
    except TimeoutError:
        raise RequestError(408, f"the request's body did not arrive within {_BODY_S:g} s") from None
    except RequestError:
        raise
    except Exception as error:
        # Starlette and Ray have a name each for the one reason why a body cannot be read to its end.
        raise ClientGone from error
    try:
        body = json.loads(data)
    except RecursionError:
        raise malformed("the request's JSON is nested too deeply") from None
    except ValueError as error:
        raise malformed(f"the request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise malformed("the request must be a JSON object")
    return body


def _object(error: RequestError) -> Json:
    kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return chat.error_body(error.message, kind=kind, param=error.param, code=error.code)


def _error(error: RequestError) -> Response:
    # Not JSONResponse: a message may quote what is no valid text (lone surrogates), which only escapes can carry.
    return Response(
        json.dumps(_object(error)), error.status, dict(error.headers), media_type="application/json"
    )
