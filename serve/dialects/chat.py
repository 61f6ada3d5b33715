"""OpenAI chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alpharay.serve.errors import malformed
from alpharay.serve.spelling import shown

PATH = "/v1/chat/completions"
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

Json = dict[str, Any]

# Fields that are ours alone, or that differ from sample to sample.
_OURS = frozenset({"alpharay", "best_of", "model", "n", "seed", "stream", "stream_options"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What alpharay itself needs to know of a request; everything else goes to the engine as it came.

    rest: as JSON, all that the engine is sent as it came: encoded once, however many samples are drawn.
    budget: from `best_of`. seed: None when the caller gave none.
    """

    body: Json
    rest: str
    stream_options: Json
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
    rest = _for_the_engine({key: value for key, value in body.items() if key not in _OURS})
    return ChatRequest(
        body=body,
        rest=rest,
        stream_options=stream_options,
        model=_typed(body, "model", str),
        choices=_positive(body, "n") or 1,
        budget=_positive(body, "best_of"),
        stream=bool(_typed(body, "stream", bool)),
        include_usage=bool(stream_options.get("include_usage")),
        greedy=_greedy(body.get("temperature")),
        seed=_seed(body),
    )


def _for_the_engine(fields: Json) -> str:
    """What the engine is sent as it came, as JSON.

    Raises RequestError (400) for what it would stumble over between its processes, keeping the request's
    place for good: text that is not Unicode, numbers beyond 64 bits, a structure that is none.
    """
    waiting: list[Any] = [fields]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise malformed(f"a number is beyond 64 bits: {shown(value)}")
    if not isinstance(fields.get("structured_outputs") or {}, dict):
        raise malformed("`structured_outputs` must be an object", param="structured_outputs")
    try:
        text = json.dumps(fields, ensure_ascii=False)
        text.encode()
    except RecursionError:
        raise malformed("the request's JSON is nested too deeply") from None
    except UnicodeEncodeError:
        raise malformed("the request holds half a surrogate pair, which is not text") from None
    return text


def engine_body(request: ChatRequest, member: str, *, seed: int | None, draw: bool) -> bytes:
    """The body for the member's own endpoint: one sample of a draw, or the request passed through."""
    own: Json = {"model": member, "seed": seed, "n": 1 if draw else request.choices, "stream": False}
    if request.stream and not draw:
        # The spend is told and counted whether or not the caller asked for it.
        own |= {"stream": True, "stream_options": request.stream_options | {"include_usage": True}}
    rest = request.rest.removesuffix("}")
    return f"{rest}{', ' if rest != '{' else ''}{json.dumps(own)[1:]}".encode()


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


def _greedy(temperature: object) -> bool:
    """Whether the engine, which reads numbers from strings too, will sample without chance."""
    try:
        return temperature is not None and float(temperature) == 0  # type: ignore[arg-type]  # that is the question
    except (TypeError, ValueError, OverflowError):
        return False


def _seed(body: Mapping[str, Any]) -> int | None:
    seed: int | None = _typed(body, "seed", int)
    if seed is not None and not -(2**63) <= seed < 2**63:
        raise malformed(f"`seed` must fit 64 bits, got {shown(seed)}", param="seed")
    return seed


def _typed(body: Mapping[str, Any], name: str, kind: type) -> Any:
    value = body.get(name)
    if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    wanted = {str: "a string", bool: "true or false", int: "an integer"}[kind]
    raise malformed(f"`{name}` must be {wanted}, got {json.dumps(value, default=str)[:80]}", param=name)


def _positive(body: Mapping[str, Any], name: str) -> int | None:
    value: int | None = _typed(body, name, int)
    if value is not None and value < 1:
        raise malformed(f"`{name}` must be at least 1, got {shown(value)}", param=name)
    return value
