"""The HTTP surface: routes, limits, and every error turned into the dialect's own error object, once."""

from __future__ import annotations

import json
import logging
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from alpharay.serve import spelling, tracing
from alpharay.serve.dialects import DIALECTS, chat, messages
from alpharay.serve.dialects.dialect import Dialect
from alpharay.serve.environment import engine_build
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway import answering
from alpharay.serve.gateway.admission import ClientGone, RequestContext
from alpharay.serve.gateway.batches import routes as batch_routes
from alpharay.serve.gateway.batches.service import Batches
from alpharay.serve.gateway.direct_stream import StreamedAnswer
from alpharay.serve.gateway.door.routes import DESCRIBED, JudgeRoutes
from alpharay.serve.gateway.http.body import json_body
from alpharay.serve.gateway.http.gate import Gate
from alpharay.serve.gateway.routes import (
    checkpoint_events,
    checkpoints,
    feedback,
    front_page,
    model_list,
    tokenizing,
    usage,
)
from alpharay.serve.gateway.routes.count_tokens import COUNT_ENDPOINT, COUNT_PATH, count_tokens
from alpharay.serve.gateway.routes.metrics_page import metrics_page
from alpharay.serve.gateway.routes.openapi import endpoint
from alpharay.serve.gateway.server import Server
from alpharay.serve.gateway.streaming import opened, unless_gone
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.state import metrics

log = logging.getLogger("ray.serve")

Json = dict[str, Any]

# nginx's own status for a client that has gone; nobody reads it.
_CLIENT_GONE = 499
# Characters of a message: an error may quote the request, and an engine's may do so at any length.
_LONGEST_MESSAGE = 4000


def build_app(server: Server, batches: Batches | None = None) -> FastAPI:
    """The application of one ingress replica. batches: of its process; None on a server without a store."""
    app = FastAPI(
        title="alpharay",
        version=version("alpharay"),
        description="A frontier of checkpoints as one OpenAI-compatible model whose answers have been run.",
        # Pages that load their scripts from elsewhere; `/openapi.json` is for whatever reads it.
        docs_url=None,
        redoc_url=None,
    )
    admission, cluster = server.admission, server.cluster
    app.add_middleware(Gate, config=server.config.server, refuse=_refusal, load=cluster.load)

    @app.exception_handler(RequestError)
    async def refused(http: Request, error: RequestError) -> Response:
        return _error(http, error)

    @app.exception_handler(HTTPException)
    async def no_such_route(http: Request, error: HTTPException) -> Response:
        answer = _error(http, RequestError(error.status_code, _route_message(http, error)))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ClientGone)
    async def nobody_left(_request: Request, _error: ClientGone) -> Response:
        return Response(status_code=_CLIENT_GONE)

    @app.exception_handler(Exception)
    async def fault(http: Request, error: Exception) -> Response:
        log.error("internal error", exc_info=error)
        message = f"a fault of the server, not of the request: {type(error).__name__}"
        return _error(http, RequestError(500, message))

    @app.get("/health", summary="Whether the process is up")
    async def health() -> Json:
        return {"status": "ok"}

    @app.get(
        "/ready", summary="Whether requests are answered; 503 until every member could, and while draining"
    )
    async def ready(http: Request) -> Response:
        problem = cluster.not_ready()
        if problem:
            return _error(http, RequestError(503, problem, code="not_ready", retry_after_s=2))
        degraded = cluster.degraded()
        return JSONResponse({"status": "ready"} | ({"degraded": degraded} if degraded else {}))

    @app.get("/metrics", summary="Prometheus metrics, summed over all ingress replicas")
    async def scrape() -> Response:
        return Response(await metrics_page(server), headers={"Content-Type": metrics.CONTENT_TYPE})

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
        return {"server_load": admission.in_flight}

    front_page.add_routes(app, server.config)

    async def known(http: Request) -> None:
        admission.key_of(http.headers.items())

    @app.get("/v1/models", summary="The ensemble and its members", dependencies=[Depends(known)])
    async def models(http: Request) -> Json:
        if model_list.ASKED_BY in http.headers:
            return model_list.page(model_list.models(server), http.query_params)
        return {"object": "list", "data": model_list.models(server)}

    @app.get("/v1/models/{name:path}", summary="The ensemble or one member", dependencies=[Depends(known)])
    async def model(http: Request, name: str) -> Json:
        entry = model_list.model(server, name)
        return model_list.of_anthropic(entry) if model_list.ASKED_BY in http.headers else entry

    for dialect in DIALECTS:
        _add_dialect(app, server, dialect)

    @app.post(COUNT_PATH, **COUNT_ENDPOINT)
    async def counted(http: Request) -> Response:
        with admission.admit("count_tokens", http.headers.items()) as context:
            return await unless_gone(http, count_tokens(server, await _body(server, http, context)))

    for path, described in tokenizing.ENDPOINTS.items():
        _add_tokenizing(app, server, path, described)

    routes = JudgeRoutes(server.door, admission, server.config.judge, server.config.server.max_request_mb)
    for path, handler in routes.handlers().items():
        app.post(path, **DESCRIBED[path])(handler)

    batch_routes.add_routes(app, server, batches)

    @app.get(usage.PATH, **usage.DESCRIBED)
    async def used(http: Request) -> Json:
        return usage.usage(server, http.headers.items())

    @app.get(checkpoints.PATH, **checkpoints.LIST_DESCRIBED)
    async def list_checkpoints(http: Request) -> Response:
        admission.check_admin(http.headers.items())
        if checkpoint_events.TYPE in http.headers.get("accept", ""):
            events = await checkpoint_events.open_stream(server, http.query_params.get("change"))
            return StreamingResponse(events, media_type=checkpoint_events.TYPE)
        return JSONResponse(await checkpoints.listed(server))

    @app.post(checkpoints.PATH, **checkpoints.DESCRIBED)
    async def move_checkpoints(http: Request) -> Response:
        admission.check_admin(http.headers.items())
        wait = checkpoints.read_wait(http.query_params)
        with admission.admit("checkpoints", http.headers.items()) as context:
            folders = checkpoints.read(server, await _body(server, http, context))
        # Outside: a change waits for whoever was let in before it.
        change = await unless_gone(http, checkpoints.move(server, folders, wait=wait))
        return JSONResponse(change, 200 if wait else 202)

    @app.post(feedback.PATH, **feedback.DESCRIBED)
    async def taught(http: Request) -> Json:
        with admission.admit("feedback", http.headers.items()) as context:
            return await feedback.take(server, await _body(server, http, context))

    return app


def _add_dialect(app: FastAPI, server: Server, dialect: Dialect) -> None:
    described = endpoint(dialect.SUMMARY, dialect.REQUIRED, dialect.FIELDS)

    @app.post(dialect.PATH, name=dialect.NAME, **described)
    async def answered(http: Request) -> Response:
        with server.admission.admit(dialect.NAME, http.headers.items()) as context:
            context.trace = tracing.begin(dialect.NAME, http.headers)
            parsed = await _parsed(server, http, context, dialect)
            return await _answer(server, http, context, parsed)


def _add_tokenizing(app: FastAPI, server: Server, path: str, described: Json) -> None:
    name = path.removeprefix("/")

    @app.post(path, name=name, **described)
    async def answered(http: Request) -> Response:
        with server.admission.admit(name, http.headers.items()) as context:
            body = await _body(server, http, context)
            return await unless_gone(http, tokenizing.tokenized(server, path, body))


async def _parsed(server: Server, http: Request, context: RequestContext, dialect: Dialect) -> ParsedRequest:
    try:
        body = await _body(server, http, context)
        parsed = await answering.parsed(server, context, dialect, body, http.headers)
    except RequestError as error:
        server.counts.rejections.labels("bodies_full" if error.status == 503 else "invalid").inc()
        raise
    if context.lease is not None:
        server.admission.charge(context.lease, parsed.samples)
    if parsed.request.tools and parsed.agent:
        server.conversations.calls_tools(parsed.agent)
    return parsed


async def _answer(server: Server, http: Request, context: RequestContext, parsed: ParsedRequest) -> Response:
    """Raises RequestError, and ClientGone."""
    if not parsed.request.stream:
        return JSONResponse(await unless_gone(http, answering.whole(server, context, parsed)))
    if parsed.direct:
        context.draws_directly(parsed.samples)
        return await opened(http, context, StreamedAnswer(server, parsed, context))
    return await opened(http, context, answering.SelectedStream(server, parsed, context))


async def _body(server: Server, http: Request, context: RequestContext) -> Json:
    return await json_body(http, context.body, server.config.server.max_request_mb)


def _error(http: Request, error: RequestError) -> Response:
    return _refusal(http.scope, error)


def _refusal(scope: Scope, error: RequestError) -> Response:
    """In the error object of the dialect whose path was asked for; OpenAI's everywhere else."""
    path, names = scope["path"], dict(scope["headers"])
    dialect = next((dialect for dialect in DIALECTS if path.startswith(dialect.PATH)), chat)
    if path.startswith("/v1/models") and model_list.ASKED_BY.encode() in names:
        dialect = messages
    if len(error.message) > _LONGEST_MESSAGE:
        error.message = f"{error.message[:_LONGEST_MESSAGE]} …"
    # Not JSONResponse: a message may quote what is no valid text (lone surrogates), which only escapes can carry.
    return Response(
        json.dumps(dialect.error_body(error)),
        error.status,
        dict(error.headers),
        media_type="application/json",
    )


def _route_message(http: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"there is no {spelling.shown(http.scope['path'])} here; /openapi.json lists what there is"
    return str(error.detail)
