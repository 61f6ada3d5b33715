"""`/v1/judge` and `/run_code`, the same on a server of models and on one that only judges."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from alpharay.judge.errors import JudgeError
from alpharay.judge.verdict import Verdict
from alpharay.serve import tracing
from alpharay.serve.errors import RequestError, malformed, no_capacity
from alpharay.serve.gateway.admission import Admission, RequestContext
from alpharay.serve.gateway.door import run_code, wire
from alpharay.serve.gateway.door.judging import Door, JudgedBatch, Requester, single
from alpharay.serve.gateway.http.body import apart, json_body
from alpharay.serve.gateway.streaming import opened, unless_gone
from alpharay.serve.sections import Judge as JudgeConfig
from alpharay.serve.transport.clients import JudgeUnavailable

Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]

JUDGE, RUN_CODE = "/v1/judge", "/run_code"
_LINES = "application/x-ndjson"


class JudgeRoutes:
    """max_mb: of one request's body."""

    def __init__(self, door: Door, admission: Admission, judge: JudgeConfig, max_mb: float) -> None:
        self._door = door
        self._admission = admission
        self._config = judge
        self._max_mb = max_mb

    def handlers(self) -> dict[str, Handler]:
        """By path."""
        return {JUDGE: self._judge, RUN_CODE: self._run_code}

    async def _judge(self, http: Request) -> Response:
        with self._admission.admit("judge", http.headers.items()) as context:
            context.trace = tracing.begin("judge", http.headers)
            request = await self._parsed(http, context, wire.parse)
            context.trace.set_attributes({"alpharay.candidates": len(request.candidates)})
            requester = _requester(context)
            if request.batch:
                return await opened(http, context, JudgedBatch(self._door, request, requester), _LINES)
            candidate = request.candidates[0]
            with self._door.holding(1, requester):
                verdict = await unless_gone(http, single(self._door, candidate, requester, request.wait_s))
            return _json(wire.verdict_object(candidate, verdict, detailed=request.detailed))

    async def _run_code(self, http: Request) -> Response:
        with self._admission.admit("run_code", http.headers.items()) as context:
            context.trace = tracing.begin("run_code", http.headers)
            run = await self._parsed(http, context, run_code.parse)
            requester = _requester(context)
            with self._door.holding(1, requester):
                verdict = await unless_gone(http, self._captured(run, requester))
            return _json(run_code.response(run, verdict))

    async def _captured(self, run: run_code.Run, requester: Requester) -> Verdict:
        began, started_ns = time.monotonic(), time.time_ns()
        try:
            verdict = await self._door.judge.capture(
                run.program, run.folder or run.stdin, run.limits, run.language, requester.group
            )
        except JudgeUnavailable as error:
            raise no_capacity(f"the judge cannot be reached: {error}") from None
        except JudgeError as error:
            raise malformed(str(error), param="language") from None
        self._door.count("run_code", verdict, time.monotonic() - began, requester)
        requester.trace.ran(0, run.language, verdict.verdict.value, started_ns)
        return verdict

    async def _parsed(
        self, http: Request, context: RequestContext, parse: Callable[[Json, JudgeConfig], Any]
    ) -> Any:
        try:
            body = await json_body(http, context.body, self._max_mb)
            return await apart(context.body, parse, body, self._config)
        except RequestError as error:
            self._admission.counts.rejections.labels(
                "bodies_full" if error.status == 503 else "invalid"
            ).inc()
            raise


def _json(content: Json) -> Response:
    """In ASCII: what a caller or a program said may hold lone surrogates, which are no UTF-8."""
    return Response(json.dumps(content), media_type="application/json")


def _requester(context: RequestContext) -> Requester:
    """A key takes one turn, whatever the number of its requests; without keys each request does."""
    if context.lease is None:
        return Requester(group=f"request {id(context)}", trace=context.trace)
    name = context.lease.key.name
    return Requester(group=f"key {name}", key=name, trace=context.trace)


def _described(summary: str, properties: Json, required: list[str], answer: str) -> Json:
    schema = {"type": "object", "required": required, "properties": properties}
    return {
        "summary": summary,
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}
        },
        "responses": {
            200: {"description": answer},
            400: {"description": "Malformed, or a language that cannot be judged here"},
            401: {"description": "No API key, or an unknown one"},
            413: {"description": "Too large"},
            415: {"description": "The body is no application/json"},
            429: {"description": "A limit of the API key; see Retry-After"},
            503: {"description": "No capacity now; see Retry-After"},
        },
    }


_STRING, _OBJECT, _NUMBER = {"type": "string"}, {"type": "object"}, {"type": "number"}
_CANDIDATE: Json = {
    "id": _STRING,
    "index": {"type": "integer"},
    "tests": _OBJECT,
    "completion": _STRING,
    "program": _STRING,
    "language": _STRING,
    "limits": _OBJECT,
}
# FastAPI's arguments, by path.
DESCRIBED: dict[str, Json] = {
    JUDGE: _described(
        "Judges a candidate, or up to 1000 as they are done",
        _CANDIDATE
        | {
            "candidates": {"type": "array", "items": {"type": "object", "properties": _CANDIDATE}},
            "wait": _NUMBER,
            "verdict_detail": {"enum": ["full", "outcome"]},
        },
        [],
        "The verdict; with `candidates` one line of JSON for each, in the order in which they are judged",
    ),
    RUN_CODE: _described(
        "Runs a program, in SandboxFusion's wire form",
        {
            "code": _STRING,
            "language": _STRING,
            "stdin": _STRING,
            "files": _OBJECT,
            "fetch_files": {"type": "array", "items": _STRING},
            "run_timeout": _NUMBER,
            "memory_limit_MB": _NUMBER,
        },
        ["code", "language"],
        "What it printed and how it ended",
    ),
}
