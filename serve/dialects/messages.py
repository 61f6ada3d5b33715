"""Anthropic Messages. One answer has room for one candidate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from alpharay.serve.dialects.api_request import ApiRequest, EngineBody, Json, first_of_user, number, objects
from alpharay.serve.dialects.dialect import Call, Closing, Dialect, EngineError, Note, Origin, Schemas, Spent
from alpharay.serve.dialects.messages_input import OUR_SIGNATURE, tidied
from alpharay.serve.dialects.openai import data_of, named_event
from alpharay.serve.dialects.refusals import PromptTooLong
from alpharay.serve.errors import RequestError, malformed

# vLLM's Messages have no seed; serve/engine/vllm_engine.py reads it from here.
SEED = "alpharay_seed"

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}

_OBJECTS = {"type": "array", "items": {"type": "object"}}


class Messages(Dialect):
    NAME = "messages"
    PATH = "/v1/messages"
    ID = "msg_"
    SINGLE = True
    SUMMARY = "Anthropic's Messages, by the ensemble or a pinned member"
    REQUIRED = ("messages", "max_tokens")
    FIELDS: ClassVar[Json] = {
        "messages": {**_OBJECTS, "minItems": 1},
        "system": {"anyOf": [{"type": "string"}, _OBJECTS]},
        "max_tokens": {"type": "integer", "minimum": 1},
        "tools": _OBJECTS,
    }

    def read(self, body: Json) -> ApiRequest:
        if body.get("messages") == []:
            raise malformed("`messages` is empty; send at least one", param="messages")
        extra = body.get("vllm_xargs") or {}
        if not isinstance(extra, dict):
            raise malformed("`vllm_xargs` must be an object", param="vllm_xargs")
        request = super().read({key: value for key, value in body.items() if key != "vllm_xargs"})
        return replace(request, body=body | {"vllm_xargs": extra})

    def tidied(self, fields: Json) -> tuple[Json, tuple[str, ...]]:
        return tidied(fields)

    def may_call(self, fields: Json) -> bool:
        choice = fields.get("tool_choice")
        return bool(fields.get("tools")) and not (isinstance(choice, dict) and choice.get("type") == "none")

    def conversation(self, body: Json) -> str:
        metadata = body.get("metadata")
        user = metadata.get("user_id") if isinstance(metadata, dict) else None
        return json.dumps([user, first_of_user(body.get("messages"))], sort_keys=True)

    def engine_body(
        self,
        request: ApiRequest,
        member: str,
        *,
        seed: int | None,
        draw: bool,
        request_id: str = "",  # noqa: ARG002 - vLLM takes it from a header here
    ) -> EngineBody:
        extra = request.body["vllm_xargs"] | ({} if seed is None else {SEED: seed})
        own = {"model": member, "stream": request.stream and not draw, "vllm_xargs": extra or None}
        return EngineBody(request.rest, own)

    def text(self, response: Json, request: ApiRequest | None = None) -> str:  # noqa: ARG002 - the protocol's signature
        return "".join(
            block.get("text") or "" for block in response["content"] if block.get("type") == "text"
        )

    def calls(self, response: Json) -> list[Call]:
        return [
            Call(str(block.get("name")), json.dumps(block.get("input"), sort_keys=True))
            for block in response["content"]
            if block.get("type") == "tool_use"
        ]

    def offered(self, request: ApiRequest) -> Schemas:
        tools = objects(request.body.get("tools"))
        return {str(tool.get("name")): tool.get("input_schema") or {} for tool in tools}

    def usage(self, response: Json) -> Spent:
        spent = response.get("usage") or {}
        names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        return sum(number(spent.get(name)) for name in names), number(spent.get("output_tokens"))

    def error_body(self, error: RequestError) -> Json:
        """Anthropic's error object, which has no place for the field at fault: the message names it."""
        kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        message = error.message
        if isinstance(error, PromptTooLong):
            message = f"prompt is too long: {error.tokens} tokens > {error.limit} maximum"
        return {"type": "error", "error": {"type": kind, "message": message}}

    def answer(self, origin: Origin, responses: Sequence[Json], notes: Sequence[Json], summary: Json) -> Json:
        return {
            **responses[0],
            "id": f"{self.ID}{origin.request_id}",
            "model": origin.model,
            # vLLM leaves out what is null; clients that check the shape expect it.
            "stop_sequence": responses[0].get("stop_sequence"),
            "alpharay": {**summary, **notes[0]},
        }

    def replay(self, request: ApiRequest, origin: Origin) -> _Replay:  # noqa: ARG002 - its id and model suffice
        return _Replay(origin)

    def passage(
        self,
        request: ApiRequest,  # noqa: ARG002 - nothing of it changes the stream
        origin: Origin,
        note: Note,
        closing: Closing,
    ) -> _Passage:
        return _Passage(origin, note, closing)


class _Replay:
    """Waits with a thinking block, which clients count as life; `ping` events are not enough for all of them."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._thinking = False

    def open(self) -> bytes:
        message: Json = {
            "id": f"{Messages.ID}{self._origin.request_id}",
            "type": "message",
            "role": "assistant",
            "model": self._origin.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return named_event({"type": "message_start", "message": message}) + named_event({"type": "ping"})

    def keep_alive(self) -> bytes:
        begin = b""
        if not self._thinking:
            self._thinking = True
            begin = _start(0, {"type": "thinking", "thinking": "", "signature": ""})
        return begin + _delta(0, {"type": "thinking_delta", "thinking": "."}) + named_event({"type": "ping"})

    def finish(self, whole: Json) -> Iterator[bytes]:
        yield from self._close_thinking()
        for index, block in enumerate(whole["content"], int(self._thinking)):
            yield from _block(index, block)
        end = {"stop_reason": whole.get("stop_reason"), "stop_sequence": whole.get("stop_sequence")}
        yield named_event({"type": "message_delta", "delta": end, "usage": whole.get("usage") or {}})
        yield named_event({"type": "message_stop", "alpharay": whole["alpharay"]})

    def fail(self, error: RequestError) -> Iterator[bytes]:
        yield from self._close_thinking()
        yield named_event(messages.error_body(error))

    def _close_thinking(self) -> Iterator[bytes]:
        if self._thinking:
            # By this signature the block is known, and left out, when the client sends it back.
            yield _delta(0, {"type": "signature_delta", "signature": OUR_SIGNATURE})
            yield named_event({"type": "content_block_stop", "index": 0})


def _block(index: int, block: Json) -> Iterator[bytes]:
    kind = block.get("type")
    if kind == "text":
        yield _start(index, {"type": "text", "text": ""})
        yield _delta(index, {"type": "text_delta", "text": block.get("text", "")})
    elif kind == "thinking":
        yield _start(index, {"type": "thinking", "thinking": "", "signature": ""})
        yield _delta(index, {"type": "thinking_delta", "thinking": block.get("thinking", "")})
        yield _delta(index, {"type": "signature_delta", "signature": block.get("signature", "")})
    elif kind == "tool_use":
        yield _start(index, {**block, "input": {}})
        arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
        yield _delta(index, {"type": "input_json_delta", "partial_json": arguments})
    else:
        yield _start(index, block)
    yield named_event({"type": "content_block_stop", "index": index})


def _start(index: int, block: Json) -> bytes:
    return named_event({"type": "content_block_start", "index": index, "content_block": block})


def _delta(index: int, delta: Json) -> bytes:
    return named_event({"type": "content_block_delta", "index": index, "delta": delta})


class _Passage:
    def __init__(self, origin: Origin, note: Note, closing: Closing) -> None:
        self.texted = False
        self.begun = True
        self._origin = origin
        self._note = note
        self._closing = closing
        self._spent: Json = {}

    def through(self, event: bytes) -> Iterator[bytes]:
        line = data_of(event)
        if line is None:
            return
        kind = event.partition(b"\n")[0].removeprefix(b"event: ")
        if kind == b"error" or line.startswith(b'{"error"'):
            raise EngineError(line)
        if kind == b"message_start":
            start = json.loads(line)
            start["message"] |= {"id": f"{Messages.ID}{self._origin.request_id}", "model": self._origin.model}
            self._spent |= start["message"].get("usage") or {}
            yield named_event(start)
        elif kind == b"message_delta":
            self._spent |= json.loads(line).get("usage") or {}
            yield event + b"\n\n"
        elif kind == b"message_stop":
            summary = self._closing(messages.usage({"usage": self._spent}))
            yield named_event({**json.loads(line), "alpharay": {**summary, **self._note(0)}})
        else:
            if kind == b"content_block_delta":
                self.texted = True
            yield event + b"\n\n"

    def fail(self, error: RequestError) -> Iterator[bytes]:
        yield named_event(messages.error_body(error))


messages = Messages()
