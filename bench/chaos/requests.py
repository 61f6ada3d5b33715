"""The requests of the mixed load: what each asks, and what a right ending of it looks like.

A right ending is a valid answer, or a proper error: one that the request earned, or 503 with `Retry-After`
while something is broken. Anything else (a reset connection, a stream without its last event, another request's
answer, a 500) is a finding.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

Json = dict[str, Any]
PATHS = {"chat": "/chat/completions", "completions": "/completions", "responses": "/responses",
         "messages": "/messages"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """kind: its row in the report. earns: statuses that are right beside 503. leave_s: goes away after so long."""

    kind: str
    path: str
    content: bytes
    stream: bool = False
    earns: frozenset[int] = frozenset({200})
    leave_s: float | None = None
    seed: int | None = None
    member: str | None = None


@dataclass(slots=True)
class Tally:
    """What came of the requests. findings: what must not be, one line each."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    ids: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def finding(self, request: Request, what: str) -> None:
        self.outcomes[request.kind, "finding"] += 1
        self.findings.append(f"{request.kind}: {what}"[:300])


def random_request(chance: random.Random, problems: list[Json]) -> Request:
    kind = chance.choices(
        ["budget", "plain", "pinned", "leave", "malformed", "oversized", "too long", "unknown"],
        [6, 3, 4, 2, 1, 0.3, 1, 1],
    )[0]
    dialect, problem, stream = chance.choice(list(PATHS)), chance.choice(problems), chance.random() < 0.5
    seed = chance.randrange(2**31)
    body = _body(dialect, problem["prompt"]) | {"stream": stream, "model": "frontier"}
    own: Json = {"path": PATHS[dialect], "stream": stream}
    if kind in {"budget", "leave"}:
        tests = {"tests": problem["tests"], "time_limit_s": 1.0}
        body["alpharay"] = {"budget": chance.choice([4, 8, 16]), "deadline_s": 60, **tests}
        if kind == "leave":
            own["leave_s"] = chance.uniform(0.01, 3)
    elif kind == "pinned":
        member = f"frontier@{chance.choice(['-0.5', '0', '0.5', '1', '1.5'])}"
        body |= {"model": member, "seed": seed}
        own |= {"seed": seed, "member": member}
    elif kind == "malformed":
        own["earns"] = frozenset({400})
        cut = json.dumps(body)[: chance.randrange(1, 60)].encode()
        return Request(kind=kind, content=chance.choice([cut, b"[]", b"null", b'{"messages": 3}']), **own)
    elif kind == "oversized":
        own["earns"] = frozenset({413})
        body["padding"] = "x" * 3_000_000
    elif kind == "too long":
        own["earns"] = frozenset({400})
        body = _body(dialect, "sum " * 4000) | {"stream": stream, "model": "frontier"}
    elif kind == "unknown":
        own["earns"] = frozenset({400, 404})
        body |= chance.choice(
            [{"model": "frontier@9"}, {"alpharay": {"budgte": 3}}, {"alpharay": {"budget": -1}}]
        )
    return Request(kind=f"{kind} {dialect}", content=json.dumps(body).encode(), **own)


def _body(dialect: str, prompt: str) -> Json:
    if dialect == "completions":
        return {"prompt": prompt, "max_tokens": 80}
    if dialect == "responses":
        return {"input": prompt, "max_output_tokens": 80}
    return {"messages": [{"role": "user", "content": prompt}], "max_tokens": 80}


async def send(client: httpx.AsyncClient, url: str, request: Request, tally: Tally, *, ending: bool) -> None:
    """Sends it, and notes how it ended. ending: the server is going down, so that it may refuse to connect."""
    headers = {"content-type": "application/json"}
    call = client.post(url + request.path, content=request.content, headers=headers)
    try:
        answer = await asyncio.wait_for(call, request.leave_s)
    except TimeoutError:
        tally.outcomes[request.kind, "left"] += 1
    except httpx.HTTPError as error:
        if ending and isinstance(error, httpx.ConnectError | httpx.RemoteProtocolError | httpx.ReadError):
            tally.outcomes[request.kind, "not connected"] += 1
        else:
            tally.finding(request, f"{type(error).__name__}: {error}")
    else:
        _check(request, answer, tally)


def _check(request: Request, answer: httpx.Response, tally: Tally) -> None:
    status = answer.status_code
    if status == 503:
        if "retry-after" not in answer.headers:
            tally.finding(request, f"503 without Retry-After: {answer.text}")
        else:
            tally.outcomes[request.kind, "503"] += 1
        return
    if status not in request.earns:
        tally.finding(request, f"{status}: {answer.text[:200]}")
        return
    if status != 200:
        error = answer.json().get("error", {})
        good = bool(error.get("message"))
        tally.outcomes[request.kind, str(status)] += good
        if not good:
            tally.finding(request, f"{status} without a message: {answer.text}")
        return
    whole = _last_event(request, answer.text) if request.stream else answer.json()
    if whole is None:
        tally.finding(request, f"a stream without its end: …{answer.text[-200:]!r}")
    elif whole.get("error"):
        tally.outcomes[request.kind, "error event"] += 1  # its engine died under a stream that had begun
    else:
        _check_notes(request, whole, tally)


def _check_notes(request: Request, whole: Json, tally: Tally) -> None:
    notes = whole.get("alpharay")
    if not isinstance(notes, dict) or not notes.get("drawn"):
        tally.finding(request, f"an answer without its notes: {str(whole)[:200]}")
        return
    if request.member and list(notes["members"]) != [request.member]:
        tally.finding(request, f"another member's answer: {notes['members']}")
        return
    if "id" in whole:
        tally.ids[whole["id"]] += 1
    tally.outcomes[request.kind, "answered"] += 1


def _last_event(request: Request, text: str) -> Json | None:
    """The event that ends the stream; None when it broke off."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if request.path in {PATHS["chat"], PATHS["completions"]}:
        if len(lines) < 2 or lines[-1] != "[DONE]":
            return None
        return json.loads(lines[-2])
    last = json.loads(lines[-1]) if lines else {}
    if last.get("type") in {"response.completed", "response.failed"}:
        return last["response"]
    return last if last.get("type") in {"message_stop", "error"} else None
