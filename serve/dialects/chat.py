"""OpenAI chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alpharay.router import Draw
from alpharay.serve.errors import malformed

PATH = "/v1/chat/completions"
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What alpharay itself needs to know of a request; everything else goes to the engine as it came.

    budget: from `best_of`. seed: None when the caller gave none.
    """

    body: Json
    model: str | None
    choices: int
    budget: int | None
    stream: bool
    include_usage: bool
    greedy: bool
    seed: int | None


def read(body: Json) -> ChatRequest:
    """Raises RequestError (400) where a field that alpharay itself uses cannot be used."""
    stream_options = body.get("stream_options") or {}
    if not isinstance(stream_options, dict):
        raise malformed("`stream_options` must be an object", param="stream_options")
    temperature = body.get("temperature")
    return ChatRequest(
        body=body,
        model=_typed(body, "model", str),
        choices=_positive(body, "n") or 1,
        budget=_positive(body, "best_of"),
        stream=bool(_typed(body, "stream", bool)),
        include_usage=bool(stream_options.get("include_usage")),
        greedy=isinstance(temperature, int | float) and temperature == 0,
        seed=_typed(body, "seed", int),
    )


def engine_body(request: ChatRequest, member: str, draw: Draw | None = None) -> bytes:
    """The body for the member's own endpoint: one sample of a draw, or the request passed through."""
    body = {key: value for key, value in request.body.items() if key not in ("alpharay", "best_of")}
    body["model"] = member
    if draw is not None:
        body |= {"n": 1, "stream": False, "seed": draw.seed}
        body.pop("stream_options", None)
    elif request.stream:
        # The spend is told and counted whether or not the caller asked for it.
        body["stream_options"] = (body.get("stream_options") or {}) | {"include_usage": True}
    return json.dumps(body).encode()


def text(response: Json) -> str:
    """What a judge reads: the answer itself, without reasoning or tool calls."""
    content = response["choices"][0]["message"].get("content")
    return content if isinstance(content, str) else ""


def usage(response: Json) -> tuple[int, int]:
    """(prompt tokens, completion tokens)."""
    spent = response.get("usage") or {}
    return int(spent.get("prompt_tokens") or 0), int(spent.get("completion_tokens") or 0)


def answer(
    request_id: str, model: str, responses: Sequence[Json], notes: Sequence[Json], summary: Json
) -> Json:
    """One response whose choices are those responses' own, best first.

    notes: the `alpharay` object of each choice. summary: that of the whole answer.
    """
    choices = [
        {**response["choices"][0], "index": index, "alpharay": note}
        for index, (response, note) in enumerate(zip(responses, notes, strict=True))
    ]
    prompt = usage(responses[0])[0]
    completion = sum(usage(response)[1] for response in responses)
    return {
        **responses[0],
        "id": f"chatcmpl-{request_id}",
        "model": model,
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
        "alpharay": summary,
    }


def events(whole: Json, *, include_usage: bool) -> Iterator[bytes]:
    """A finished answer as the events of a stream, one choice after the other.

    The answer's `alpharay` object travels in the last data event.
    """
    head = {key: whole[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    last = len(whole["choices"]) - 1
    for number, choice in enumerate(whole["choices"]):
        index, message = choice["index"], choice["message"]
        role = {"role": message.get("role", "assistant"), "content": ""}
        yield event({**head, "choices": [{"index": index, "delta": role, "finish_reason": None}]})
        delta = {key: value for key, value in message.items() if key != "role" and value}
        if calls := delta.get("tool_calls"):
            delta["tool_calls"] = [{"index": position, **call} for position, call in enumerate(calls)]
        body = {"index": index, "delta": delta, "logprobs": choice.get("logprobs"), "finish_reason": None}
        yield event({**head, "choices": [body]})
        end = {
            "index": index,
            "delta": {},
            "finish_reason": choice.get("finish_reason"),
            "stop_reason": choice.get("stop_reason"),
            "alpharay": choice["alpharay"],
        }
        closing = {"alpharay": whole["alpharay"]} if number == last and not include_usage else {}
        yield event({**head, "choices": [end], **closing})
    if include_usage:
        yield event({**head, "choices": [], "usage": whole["usage"], "alpharay": whole["alpharay"]})
    yield DONE


def event(data: Json) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def error_body(message: str, *, kind: str, param: str | None = None, code: str | int | None = None) -> Json:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _typed(body: Mapping[str, Any], name: str, kind: type) -> Any:
    value = body.get(name)
    if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    wanted = {str: "a string", bool: "true or false", int: "an integer"}[kind]
    raise malformed(f"`{name}` must be {wanted}, got {json.dumps(value, default=str)[:80]}", param=name)


def _positive(body: Mapping[str, Any], name: str) -> int | None:
    value: int | None = _typed(body, name, int)
    if value is not None and value < 1:
        raise malformed(f"`{name}` must be at least 1, got {value}", param=name)
    return value
