"""OpenAI Responses. One answer has room for one candidate; nothing is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import ClassVar

from alpharay.serve.dialects.api_request import ApiRequest, EngineBody, Json, first_of_user, number, objects
from alpharay.serve.dialects.dialect import Call, Closing, Dialect, EngineError, Note, Origin, Schemas, Spent
from alpharay.serve.dialects.openai import data_of, named_event
from alpharay.serve.dialects.responses_input import tidied
from alpharay.serve.errors import RequestError, malformed

_CALLS = frozenset({"function_call", "custom_tool_call"})
_OBJECTS = {"type": "array", "items": {"type": "object"}}


class Responses(Dialect):
    NAME = "responses"
    PATH = "/v1/responses"
    ID = "resp_"
    SINGLE = True
    SUMMARY = "Responses, by the ensemble or a pinned member; nothing is stored"
    REQUIRED = ("input",)
    FIELDS: ClassVar[Json] = {
        "input": {"anyOf": [{"type": "string"}, _OBJECTS]},
        "instructions": {"type": "string"},
        "max_output_tokens": {"type": "integer"},
        "tools": _OBJECTS,
    }

    def tidied(self, fields: Json) -> tuple[Json, tuple[str, ...]]:
        if fields.get("input") == [] and not fields.get("instructions"):
            raise malformed("`input` is empty; send at least one item", param="input")
        return tidied(fields)

    def conversation(self, body: Json) -> str:
        turns = body.get("input")
        first = first_of_user(turns) if isinstance(turns, list) else turns
        return json.dumps([body.get("prompt_cache_key"), first], sort_keys=True)

    def engine_body(
        self, request: ApiRequest, member: str, *, seed: int | None, draw: bool, request_id: str = ""
    ) -> EngineBody:
        own = {"model": member, "seed": seed, "stream": request.stream and not draw}
        if request_id:
            own["request_id"] = f"{self.ID}{request_id}"
        return EngineBody(request.rest, own)

    def text(self, response: Json, request: ApiRequest | None = None) -> str:  # noqa: ARG002 - the protocol's signature
        return "".join(
            part.get("text") or ""
            for item in response["output"]
            if item.get("type") == "message"
            for part in item.get("content") or []
            if part.get("type") == "output_text"
        )

    def calls(self, response: Json) -> list[Call]:
        return [
            Call(str(item.get("name")), str(item.get("arguments", item.get("input", ""))))
            for item in response["output"]
            if item.get("type") in _CALLS
        ]

    def offered(self, request: ApiRequest) -> Schemas:
        return _offered(request.body.get("tools"), "")

    def usage(self, response: Json) -> Spent:
        spent = response.get("usage") or {}
        return number(spent.get("input_tokens")), number(spent.get("output_tokens"))

    def answer(self, origin: Origin, responses: Sequence[Json], notes: Sequence[Json], summary: Json) -> Json:
        return {
            **_ended(responses[0]),
            "id": f"{self.ID}{origin.request_id}",
            "model": origin.model,
            "alpharay": {**summary, **notes[0]},
        }

    def replay(self, request: ApiRequest, origin: Origin) -> _Replay:
        return _Replay(request, origin)

    def passage(
        self,
        request: ApiRequest,  # noqa: ARG002 - nothing of it changes the stream
        origin: Origin,
        note: Note,
        closing: Closing,
    ) -> _Passage:
        return _Passage(origin, note, closing)


def _offered(tools: object, namespace: str) -> dict[str, Json | None]:
    """A namespaced tool is called by its own name or, as models are told, by both joined."""
    schemas: dict[str, Json | None] = {}
    for tool in objects(tools):
        name, kind = str(tool.get("name")), tool.get("type")
        if kind == "namespace":
            schemas |= _offered(tool.get("tools"), f"{name}__")
        elif kind in {"function", "custom"}:
            schema = None if kind == "custom" else tool.get("parameters") or {}
            schemas |= {name: schema, namespace + name: schema}
    return schemas


def _ended(response: Json) -> Json:
    """A response that ran out of tokens says so, and so does the item that was cut, as OpenAI's do."""
    if response.get("status") != "incomplete":
        return response
    *items, last = response.get("output") or [{}]
    cut = [last | {"status": "incomplete"}] if last else []
    reason = response.get("incomplete_details") or {"reason": "max_output_tokens"}
    return {**response, "incomplete_details": reason, "output": [*items, *cut]}


def _final(response: Json) -> str:
    """The type of a stream's last event."""
    return "response.incomplete" if response.get("status") == "incomplete" else "response.completed"


class _Replay:
    """Numbers its events from `response.created` on, through the waiting, to the end."""

    def __init__(self, request: ApiRequest, origin: Origin) -> None:
        self._sequence = 0
        body = request.body
        self._empty = {
            "id": f"{Responses.ID}{origin.request_id}",
            "object": "response",
            "created_at": origin.created,
            "status": "in_progress",
            "model": origin.model,
            "output": [],
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "metadata": body.get("metadata"),
            "parallel_tool_calls": body.get("parallel_tool_calls", True) is not False,
            "temperature": body.get("temperature"),
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": body.get("top_p"),
            "usage": None,
        }

    def open(self) -> bytes:
        return self._event("response.created", response=self._empty) + self.keep_alive()

    def keep_alive(self) -> bytes:
        # Comments are not enough: there are clients (Codex) that wait for events alone.
        return self._event("response.in_progress", response=self._empty)

    def finish(self, whole: Json) -> Iterator[bytes]:
        for position, item in enumerate(whole["output"]):
            yield from self._item(position, item)
        yield self._event(_final(whole), response={**whole, "created_at": self._empty["created_at"]})

    def fail(self, error: RequestError) -> Iterator[bytes]:
        yield self._event(
            "response.failed", response={**self._empty, "status": "failed", "error": _failure(error)}
        )

    def _item(self, position: int, item: Json) -> Iterator[bytes]:
        where = {"output_index": position, "item_id": item.get("id")}
        started = {**item, "status": "in_progress"}
        kind = item.get("type")
        if kind == "message":
            started["content"] = []
        elif kind == "function_call":
            started["arguments"] = ""
        elif kind == "custom_tool_call":
            started["input"] = ""
        yield self._event("response.output_item.added", output_index=position, item=started)
        if kind in {"message", "reasoning"}:
            for number, part in enumerate(item.get("content") or []):
                yield from self._part({**where, "content_index": number}, part)
        elif kind == "function_call":
            arguments = item.get("arguments")
            yield self._event("response.function_call_arguments.delta", **where, delta=arguments)
            yield self._event(
                "response.function_call_arguments.done", **where, name=item.get("name"), arguments=arguments
            )
        elif kind == "custom_tool_call":
            yield self._event("response.custom_tool_call_input.delta", **where, delta=item.get("input"))
            yield self._event("response.custom_tool_call_input.done", **where, input=item.get("input"))
        yield self._event("response.output_item.done", output_index=position, item=item)

    def _part(self, where: Json, part: Json) -> Iterator[bytes]:
        kind, words = part.get("type"), part.get("text", "")
        yield self._event("response.content_part.added", **where, part={**part, "text": ""})
        if kind in {"output_text", "reasoning_text"}:
            logprobs = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
            yield self._event(f"response.{kind}.delta", **where, delta=words, **logprobs)
            yield self._event(f"response.{kind}.done", **where, text=words, **logprobs)
        yield self._event("response.content_part.done", **where, part=part)

    def _event(self, kind: str, **fields: object) -> bytes:
        event = named_event({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return event


def _failure(error: RequestError) -> Json:
    """A failed response's `error`. Agents compact by the code of a prompt that is too long."""
    code = error.code if error.status < 500 else None
    if code is None:
        code = "server_error" if error.status >= 500 else "invalid_prompt"
    if error.status in {429, 503}:
        code = "rate_limit_exceeded"
    return {"code": code, "message": error.message}


_OPENINGS = frozenset({b"response.created", b"response.queued", b"response.in_progress"})
_ENDS = frozenset({b"response.completed", b"response.incomplete", b"response.failed"})


class _Passage:
    def __init__(self, origin: Origin, note: Note, closing: Closing) -> None:
        self.texted = False
        self.begun = False  # vLLM opens a response before it asks the engine
        self._next = 0
        self._origin = origin
        self._note = note
        self._closing = closing
        self._held: bytes | None = None  # an item's last event, until it is known whether the item was cut

    def through(self, event: bytes) -> Iterator[bytes]:
        line = data_of(event)
        if line is None or line == b"[DONE]":
            return
        kind = event.partition(b"\n")[0].removeprefix(b"event: ")
        if kind == b"error" or line.startswith(b'{"error"'):
            raise EngineError(line)
        self._next += 1
        self.begun = self.begun or kind not in _OPENINGS
        if kind not in _ENDS:
            self.texted = self.texted or kind.endswith(b".delta")
            yield from self._released()
            if kind == b"response.output_item.done":
                self._held = event
            else:
                yield event + b"\n\n"
            return
        payload = json.loads(line)
        response = _ended(payload["response"])
        yield from self._released(cut=response.get("status") == "incomplete")
        if kind == b"response.completed":
            payload["type"] = _final(response)
        summary = self._closing(responses.usage(response))
        payload["response"] = {**response, "alpharay": {**summary, **self._note(0)}}
        yield named_event(payload)

    def _released(self, *, cut: bool = False) -> Iterator[bytes]:
        """The event that was held back."""
        event, self._held = self._held, None
        if event is not None and cut:
            payload = json.loads(data_of(event) or b"{}")
            yield named_event({**payload, "item": payload["item"] | {"status": "incomplete"}})
        elif event is not None:
            yield event + b"\n\n"

    def fail(self, error: RequestError) -> Iterator[bytes]:
        yield from self._released()
        failed = {
            "id": f"{Responses.ID}{self._origin.request_id}",
            "object": "response",
            "created_at": self._origin.created,
            "status": "failed",
            "model": self._origin.model,
            "output": [],
            "error": _failure(error)
            if error.status < 500
            else {"code": "server_error", "message": error.message},
        }
        yield named_event({"type": "response.failed", "sequence_number": self._next, "response": failed})


responses = Responses()
