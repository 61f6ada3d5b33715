"""The HTTP surface: routes, limits, and every error turned into the dialect's own error object, once."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import uuid
from collections.abc import Coroutine, Iterator
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from alpharay.serve import spelling
from alpharay.serve.dialects import chat, completions, messages, responses
from alpharay.serve.dialects.dialect import Dialect, Origin, salted
from alpharay.serve.engine.build import engine_build
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway import pinned, respond
from alpharay.serve.gateway.http.body import apart, json_body
from alpharay.serve.gateway.http.gate import Gate
from alpharay.serve.gateway.parse import EnsembleRequest, PinnedRequest, Several, parse_request
from alpharay.serve.gateway.routes import feedback, front_page, model_list, tokenizing
from alpharay.serve.gateway.routes.count_tokens import COUNT_PATH, count_tokens
from alpharay.serve.gateway.routes.openapi import endpoint
from alpharay.serve.gateway.server import ClientGone, RequestContext, Server, outcome_of
from alpharay.serve.gateway.several import Choices
from alpharay.serve.gateway.streaming import HEADERS_AFTER_S, EventStream, Waiting, unless_gone
from alpharay.serve.sampling.ensemble import Outcome
from alpharay.serve.sampling.progress import Progress, Watch, both, unwatched
from alpharay.serve.state import metrics

log = logging.getLogger("ray.serve")

Json = dict[str, Any]

# nginx's own status for a client that has gone; nobody reads it.
_CLIENT_GONE = 499
# An error may quote the request, and an engine's may do so at any length.
_MOST_TOLD = 4000

DIALECTS: tuple[Dialect, ...] = (chat, completions, responses, messages)


def build_app(server: Server) -> FastAPI:
    """The application of one ingress replica."""
    app = FastAPI(
        title="alpharay",
        version=version("alpharay"),
        description="A frontier of checkpoints as one OpenAI-compatible model whose answers have been run.",
        # Pages that load their scripts from elsewhere; `/openapi.json` is for whatever reads it.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Gate, config=server.config.server, refuse=_refusal, load=server.load)

    @app.exception_handler(RequestError)
    async def refused(http: Request, error: RequestError) -> Response:
        return _error(http, error)

    @app.exception_handler(HTTPException)
    async def no_such_route(http: Request, error: HTTPException) -> Response:
        answer = _error(http, RequestError(error.status_code, _told_of_route(http, error)))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ClientGone)
    async def nobody_left(_request: Request, _error: ClientGone) -> Response:
        return Response(status_code=_CLIENT_GONE)

    @app.exception_handler(Exception)
    async def fault(http: Request, error: Exception) -> Response:
        log.error("internal error", exc_info=error)
        told = f"a fault of the server, not of the request: {type(error).__name__}"
        return _error(http, RequestError(500, told))

    @app.get("/health", summary="Whether the process is up")
    async def health() -> Json:
        return {"status": "ok"}

    @app.get(
        "/ready", summary="Whether requests are answered; 503 until every member could, and while draining"
    )
    async def ready(http: Request) -> Response:
        problem = server.not_ready()
        if problem:
            return _error(http, RequestError(503, problem, code="not_ready", retry_after_s=2))
        degraded = server.degraded()
        return JSONResponse({"status": "ready"} | ({"degraded": degraded} if degraded else {}))

    @app.get("/metrics", summary="Prometheus metrics, summed over all ingress replicas")
    async def scrape() -> Response:
        return Response(await server.metrics_page(), headers={"Content-Type": metrics.CONTENT_TYPE})

    @app.post("/ping", include_in_schema=False)
    @app.get("/ping", summary="As /health, without a body")
    async def ping() -> Response:
        return Response()

    @app.get("/version", summary="The engine's version as vLLM tells it, and alpharay's")
    async def versions() -> Json:
        build = engine_build()
        return {"version": version(build or "alpharay"), "alpharay": version("alpharay")}

    @app.get("/load", summary="Requests under way at this ingress replica, as vLLM tells them")
    async def load() -> Json:
        return {"server_load": server.in_flight}

    front_page.add_routes(app)

    async def known(http: Request) -> None:
        server.key_of(http.headers.items())

    @app.get("/v1/models", summary="The ensemble and its members", dependencies=[Depends(known)])
    async def models(http: Request) -> Json:
        if model_list.ASKED_BY in http.headers:
            return model_list.page(server.models(), http.query_params)
        return {"object": "list", "data": server.models()}

    @app.get("/v1/models/{name:path}", summary="The ensemble or one member", dependencies=[Depends(known)])
    async def model(http: Request, name: str) -> Json:
        found = server.model(name)
        return model_list.of_anthropic(found) if model_list.ASKED_BY in http.headers else found

    for dialect in DIALECTS:
        _add_endpoint(app, server, dialect)

    @app.post(
        COUNT_PATH, summary="How many tokens a request to Messages would have", **endpoint("count_tokens")
    )
    async def counted(http: Request) -> Response:
        key = server.key_of(http.headers.items())
        with server.admit("count_tokens") as context:
            context.lease = server.allow(key)
            return await unless_gone(http, count_tokens(server, await _body(server, http, context)))

    for path in tokenizing.PATHS:
        _add_tokenizing(app, server, path)

    @app.post(feedback.PATH, **feedback.DESCRIBED)
    async def taught(http: Request) -> Json:
        key = server.key_of(http.headers.items())
        with server.admit("feedback") as context:
            context.lease = server.allow(key)
            return await feedback.take(server, await _body(server, http, context))

    return app


def _add_endpoint(app: FastAPI, server: Server, dialect: Dialect) -> None:
    @app.post(dialect.PATH, name=dialect.NAME, **endpoint(dialect.NAME))
    async def answered(http: Request) -> Response:
        key = server.key_of(http.headers.items())
        with server.admit(dialect.NAME) as context:
            context.lease = server.allow(key)
            return await _answered(server, http, context, dialect)


def _add_tokenizing(app: FastAPI, server: Server, path: str) -> None:
    name = path.removeprefix("/")

    @app.post(path, name=name, **endpoint(name))
    async def answered(http: Request) -> Response:
        key = server.key_of(http.headers.items())
        with server.admit(name) as context:
            context.lease = server.allow(key)
            body = await _body(server, http, context)
            return await unless_gone(http, tokenizing.tokenized(server, path, body))


async def _answered(server: Server, http: Request, context: RequestContext, dialect: Dialect) -> Response:
    try:
        body = await _body(server, http, context)
        request = await apart(context.body, dialect.read, body)
        key = context.lease.key if context.lease else None
        if key is not None:
            request = salted(request, key.cache_salt)
        context.answer = uuid.uuid4().hex
        todo = parse_request(
            server, dialect, request, http.headers, context.answer, secrets.randbits(62), key
        )
    except RequestError as error:
        server.counts.rejections.labels("bodies_full" if error.status == 503 else "invalid").inc()
        raise
    if context.lease is not None:
        server.charge(context.lease, todo.samples)
    if isinstance(todo, PinnedRequest):
        context.draws_directly(todo.samples)
        return await _single(server, http, todo, context)
    if isinstance(todo, Several):
        context.draws_directly(todo.samples)
        return await _several(server, http, todo, context)
    if request.stream:
        return await _streamed(server, http, todo, context)
    outcome = await unless_gone(http, _run(server, todo, context))
    return JSONResponse(_finished(server, todo, outcome, respond.origin(todo.job, server.config.name)))


def _run(
    server: Server, todo: EnsembleRequest, context: RequestContext, watch: Watch = unwatched
) -> Coroutine[Any, Any, Outcome]:
    """The job, its time counted from the request's arrival and its draws charged to the request's key."""
    if context.lease is not None:
        watch = both(watch, context.lease.watch)
    return server.ensemble.run(todo.job, watch, arrived=context.arrived)


async def _body(server: Server, http: Request, context: RequestContext) -> Json:
    return await json_body(http, context.body, server.config.server.max_request_mb)


async def _single(server: Server, http: Request, todo: PinnedRequest, context: RequestContext) -> Response:
    """One member's own answer; of another one where that may be, when its engine is lost before anything was sent."""
    while True:
        try:
            return await _pinned(server, http, todo, context)
        except pinned.EngineLost:
            elsewhere = todo.elsewhere()
            if elsewhere is None:
                raise
            todo = elsewhere


async def _pinned(server: Server, http: Request, todo: PinnedRequest, context: RequestContext) -> Response:
    if not todo.request.stream:
        return JSONResponse(await unless_gone(http, pinned.answer(server, todo)))
    passing = pinned.PassThroughStream(server, todo, context)
    try:
        content_type = await unless_gone(http, passing.open())
    except BaseException:
        await passing.aclose()
        raise
    return EventStream(context, passing, content_type=content_type)


async def _several(server: Server, http: Request, todo: Several, context: RequestContext) -> Response:
    choices = Choices(server, todo.job, context)
    try:
        await unless_gone(http, choices.open())
    except BaseException:
        await choices.aclose()
        raise
    return EventStream(context, choices)


async def _streamed(
    server: Server, http: Request, todo: EnsembleRequest, context: RequestContext
) -> Response:
    """A budget's answer as a stream: kept alive while candidates are drawn and run, then the winner's events."""
    progress = Progress()
    origin = respond.origin(todo.job, server.config.name)
    replay = todo.job.dialect.replay(todo.job.request, origin)
    working = asyncio.ensure_future(_run(server, todo, context, progress.watch))

    def events(done: asyncio.Future[Outcome]) -> Iterator[bytes]:
        try:
            whole = _finished(server, todo, done.result(), origin)
        except RequestError as error:
            # The headers are out: the error can only be told as the stream's last event.
            context.end(outcome_of(error))
            yield from replay.fail(error)
            return
        context.first_text()
        yield from replay.finish(whole)

    waiting = Waiting(working, events, replay, server.config.server.keep_alive_s, progress)
    try:
        await unless_gone(http, _first(working, progress))
    except BaseException:
        await waiting.aclose()
        raise
    return EventStream(context, waiting)


async def _first(working: asyncio.Future[Outcome], progress: Progress) -> None:
    """Waits a moment for a first sample; raises what it ended with, so that a refusal gets its proper status."""
    begun = asyncio.ensure_future(progress.begun.wait())
    either: set[asyncio.Future[Any]] = {working, begun}
    try:
        await asyncio.wait(either, timeout=HEADERS_AFTER_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        begun.cancel()
    if working.done():
        working.result()


def _finished(server: Server, todo: EnsembleRequest, outcome: Outcome, origin: Origin) -> Json:
    chosen = respond.returned(todo.job, outcome, todo.returns)
    respond.count(server.counts, outcome, chosen)
    levels = [case.level for case in getattr(todo.job.tests, "cases", ())]
    server.learning.record(todo.job.request_id, outcome.session, chosen, levels)
    return respond.whole(todo.job, outcome, chosen, server.by_name, origin)


def _error(http: Request, error: RequestError) -> Response:
    return _refusal(http.scope, error)


def _refusal(scope: Scope, error: RequestError) -> Response:
    """In the error object of the dialect whose path was asked for; OpenAI's everywhere else."""
    path, names = scope["path"], dict(scope["headers"])
    dialect = next((one for one in DIALECTS if path.startswith(one.PATH)), chat)
    if path.startswith("/v1/models") and model_list.ASKED_BY.encode() in names:
        dialect = messages
    if len(error.message) > _MOST_TOLD:
        error.message = f"{error.message[:_MOST_TOLD]} …"
    # Not JSONResponse: a message may quote what is no valid text (lone surrogates), which only escapes can carry.
    return Response(
        json.dumps(dialect.error_body(error)),
        error.status,
        dict(error.headers),
        media_type="application/json",
    )


def _told_of_route(http: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"there is no {spelling.shown(http.scope['path'])} here; /openapi.json lists what there is"
    return str(error.detail)
