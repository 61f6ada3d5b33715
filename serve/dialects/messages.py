"""Anthropic Messages. One answer has room for one candidate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from alpharay.serve.dialects import dialect as d
from alpharay.serve.dialects.dialect import (
    ApiRequest,
    Call,
    Closing,
    EngineError,
    Json,
    Note,
    Origin,
    Schemas,
    Spent,
    number,
)
from alpharay.serve.dialects.messages_input import OUR_SIGNATURE, tidied
from alpharay.serve.dialects.openai import data_of, named_event
from alpharay.serve.dialects.refusals import PromptTooLong
from alpharay.serve.errors import RequestError, malformed

__all__ = ["NAME", "PATH", "SINGLE", "answer", "calls", "engine_body", "error_body", "noted", "offered", "passage", "read",
           "replay", "text", "usage"]  # fmt: skip

NAME = "messages"
PATH = "/v1/messages"
SINGLE = True

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


def read(body: Json) -> ApiRequest:
    if body.get("messages") == []:
        raise malformed("`messages` is empty; send at least one", param="messages")
    fields, changed = tidied({key: value for key, value in body.items() if key not in d.OURS})
    extra = fields.pop("vllm_xargs", None) or {}
    if not isinstance(extra, dict):
        raise malformed("`vllm_xargs` must be an object", param="vllm_xargs")
    choice = fields.get("tool_choice")
    return ApiRequest(
        body=body | {"vllm_xargs": extra},
        rest=d.for_the_engine(fields),
        model=d.typed(body, "model", str),
        stream=bool(d.typed(body, "stream", bool)),
        greedy=d.greedy(body.get("temperature")),
        seed=d.seed(body),
        tools=bool(fields.get("tools")) and not (isinstance(choice, dict) and choice.get("type") == "none"),
        conversation=_conversation(body),
        changed=changed,
    )


def _conversation(body: Json) -> str:
    messages, metadata = body.get("messages"), body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    first = next(
        (one for one in messages if isinstance(one, dict) and one.get("role") == "user"), None
    ) if isinstance(messages, list) else None  # fmt: skip
    return json.dumps([user, first], sort_keys=True)


def engine_body(
    request: ApiRequest,
    member: str,
    *,
    seed: int | None,
    draw: bool,
    request_id: str = "",  # noqa: ARG001 - vLLM takes it from a header here
) -> bytes:
    extra = request.body["vllm_xargs"] | ({} if seed is None else {SEED: seed})
    own = {"model": member, "stream": request.stream and not draw, "vllm_xargs": extra or None}
    return d.with_own(request.rest, own)


def text(response: Json, request: ApiRequest | None = None) -> str:  # noqa: ARG001 - the protocol's signature
    return "".join(block.get("text") or "" for block in response["content"] if block.get("type") == "text")


def calls(response: Json) -> list[Call]:
    return [
        Call(str(block.get("name")), json.dumps(block.get("input"), sort_keys=True))
        for block in response["content"]
        if block.get("type") == "tool_use"
    ]


def offered(request: ApiRequest) -> Schemas:
    tools = d.objects(request.body.get("tools"))
    return {str(tool.get("name")): tool.get("input_schema") or {} for tool in tools}


def usage(response: Json) -> Spent:
    spent = response.get("usage") or {}
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(number(spent.get(name)) for name in names), number(spent.get("output_tokens"))


def error_body(error: RequestError) -> Json:
    """Anthropic's error object, which has no place for the field at fault: the message names it."""
    kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    message = error.message
    if isinstance(error, PromptTooLong):
        message = f"prompt is too long: {error.tokens} tokens > {error.limit} maximum"
    return {"type": "error", "error": {"type": kind, "message": message}}


def answer(origin: Origin, responses: Sequence[Json], notes: Sequence[Json], summary: Json) -> Json:
    return {
        **responses[0],
        "id": f"msg_{origin.request_id}",
        "model": origin.model,
        # vLLM leaves out what is null; clients that check the shape expect it.
        "stop_sequence": responses[0].get("stop_sequence"),
        "alpharay": {**summary, **notes[0]},
    }


def noted(origin: Origin, response: Json, note: Note, summary: Json) -> Json:
    return answer(origin, [response], [note(0)], summary)


class _Replay:
    """Waits with a thinking block, which clients count as life; `ping` events are not enough for all of them."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._thinking = False

    def open(self) -> bytes:
        message: Json = {
            "id": f"msg_{self._origin.request_id}",
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
        yield named_event(error_body(error))

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


def replay(request: ApiRequest, origin: Origin) -> _Replay:  # noqa: ARG001 - the protocol's signature
    return _Replay(origin)


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
            told = json.loads(line)
            told["message"] |= {"id": f"msg_{self._origin.request_id}", "model": self._origin.model}
            self._spent |= told["message"].get("usage") or {}
            yield named_event(told)
        elif kind == b"message_delta":
            self._spent |= json.loads(line).get("usage") or {}
            yield event + b"\n\n"
        elif kind == b"message_stop":
            summary = self._closing(usage({"usage": self._spent}))
            yield named_event({**json.loads(line), "alpharay": {**summary, **self._note(0)}})
        else:
            if kind == b"content_block_delta":
                self.texted = True
            yield event + b"\n\n"

    def fail(self, error: RequestError) -> Iterator[bytes]:
        yield named_event(error_body(error))


def passage(
    request: ApiRequest,  # noqa: ARG001 - the protocol's signature
    origin: Origin,
    note: Note,
    closing: Closing,
) -> _Passage:
    return _Passage(origin, note, closing)
