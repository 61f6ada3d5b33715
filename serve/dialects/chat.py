"""OpenAI chat completions, and what legacy completions share with them: choices, streamed in chunks, then `[DONE]`.

What real agents send to chat completions and vLLM's validator would refuse, left out or converted before it.

An empty list of tools is none. An assistant's message comes back as client libraries give it out: with every field
that it has no value for as null, and a refusal beside its content. `alpharay.left_out` names what is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from alpharay.serve.dialects.api_request import ApiRequest, EngineBody, Json, first_of_user, objects
from alpharay.serve.dialects.dialect import (
    Call,
    Closing,
    Dialect,
    EngineError,
    Note,
    Origin,
    Schemas,
    Spent,
)
from alpharay.serve.dialects.openai import COMMENT, DONE, data_of, error_body, event
from alpharay.serve.errors import RequestError, malformed

# What both endpoints take besides their prompt.
CHOICE_FIELDS: Json = {
    "n": {"type": "integer", "minimum": 1},
    "best_of": {"type": "integer", "minimum": 1},
    "max_tokens": {"type": "integer"},
    "stream_options": {"type": "object"},
}


class ChunkStream:
    def fail(self, error: RequestError) -> Iterator[bytes]:
        yield event(error_body(error))
        yield DONE


class ChunkPassage(ChunkStream):
    """Chunks pass as they are; only those that end a choice wait, to have our notes added."""

    def __init__(self, request: ApiRequest, note: Note, closing: Closing) -> None:
        self.texted = False
        self.begun = True
        self._include_usage = request.include_usage
        self._note = note
        self._closing = closing
        self._held: Json | None = None  # the last event that ended a choice: our summary may belong into it

    def through(self, event_: bytes) -> Iterator[bytes]:
        # Nearly all events are such a line and nothing else.
        alone = event_.startswith(b"data: ") and b"\n" not in event_
        line = event_[len(b"data: ") :] if alone else data_of(event_)
        if line is None:
            return
        if line == b"[DONE]":
            if self._held is not None:
                yield event(self._held)
            yield DONE
        elif b'"finish_reason":null' in line:
            if b'"role":' not in line:  # chat's opening event names the role and has no text yet
                self.texted = True
            yield b"data: " + line + b"\n\n"
        else:
            yield from self._end(json.loads(line))

    def _end(self, chunk: Json) -> Iterator[bytes]:
        if "error" in chunk:
            raise EngineError(json.dumps(chunk).encode())
        for choice in chunk.get("choices", []):
            choice["alpharay"] = self._note(choice["index"])
        if chunk.get("choices"):
            if self._held is not None:
                yield event(self._held)
            self._held = chunk
        elif chunk.get("usage"):
            if self._held is not None and self._include_usage:
                yield event(self._held)
            self._held = self._closed(chunk)
        else:
            yield event(chunk)

    def _closed(self, chunk: Json) -> Json:
        """The last data event: the usage event if the caller asked for one, else the last that ended a choice."""
        summary = self._closing(usage(chunk))
        if self._include_usage or self._held is None:
            return {**chunk, "alpharay": summary}
        return {**self._held, "alpharay": summary}


class MergedChunks:
    """The chunks of several streams as those of one answer, of which each stream is a choice."""

    def __init__(self, request: ApiRequest, origin: Origin) -> None:
        self.origin = origin
        self._include_usage = request.include_usage
        self._last: Json = {}  # the last chunk that ended a choice: the summary may belong into it
        self._prompt_tokens = 0
        self._completion_tokens = 0

    def choice(self, index: int, note: Json, closing: Closing) -> ChoicePassage:
        """closing: called with what the choice spent, once that is known."""
        return ChoicePassage(self, index, note, closing)

    def end(self, chunk: Json) -> Iterator[bytes]:
        """The chunk that ends a choice waits until another choice ends."""
        if self._last:
            yield event(self._last)
        self._last = chunk

    def spend(self, prompt_tokens: int, completion_tokens: int) -> None:
        self._prompt_tokens = max(self._prompt_tokens, prompt_tokens)  # the choices share their prompt
        self._completion_tokens += completion_tokens

    def finish(self, summary: Json) -> Iterator[bytes]:
        """The last events, once every choice has ended."""
        if self._include_usage:
            yield event(self._last)
            spent = {
                "prompt_tokens": self._prompt_tokens,
                "completion_tokens": self._completion_tokens,
                "total_tokens": self._prompt_tokens + self._completion_tokens,
            }
            yield event({**self._last, "choices": [], "usage": spent, "alpharay": summary})
        else:
            yield event({**self._last, "alpharay": summary})
        yield DONE


class ChoicePassage(ChunkStream):
    """One of several streams on its way into one answer."""

    def __init__(self, merged: MergedChunks, index: int, note: Json, closing: Closing) -> None:
        self.texted = False
        self.begun = True
        self._merged = merged
        self._index = index
        self._note = note
        self._closing = closing

    def through(self, event_: bytes) -> Iterator[bytes]:
        line = data_of(event_)
        if line is None or line == b"[DONE]":
            return
        chunk: Json = json.loads(line)
        if "error" in chunk:
            raise EngineError(line)
        if chunk.get("choices"):
            yield from self._renumbered(chunk)
        elif chunk.get("usage"):
            spent = usage(chunk)
            self._merged.spend(*spent)
            self._closing(spent)

    def _renumbered(self, chunk: Json) -> Iterator[bytes]:
        origin, ended = self._merged.origin, False
        prefix = str(chunk.get("id")).partition("-")[0]
        chunk |= {"id": f"{prefix}-{origin.request_id}", "model": origin.model, "created": origin.created}
        for choice in chunk["choices"]:
            choice["index"] = self._index
            # Chat's opening event names the role and has no text yet.
            self.texted = (
                self.texted or bool(choice.get("text")) or "role" not in choice.get("delta", {"role": ""})
            )
            if choice.get("finish_reason") is not None:
                choice["alpharay"], ended = self._note, True
        if ended:
            yield from self._merged.end(chunk)
        else:
            yield event(chunk)


def usage(response: Json) -> Spent:
    spent = response.get("usage") or {}
    prompt, completion = spent.get("prompt_tokens"), spent.get("completion_tokens")
    return prompt if isinstance(prompt, int) else 0, completion if isinstance(completion, int) else 0


def total(responses: list[Json]) -> Json:
    """The `usage` of an answer made of those responses, which share a prompt: what came back."""
    prompt = usage(responses[0])[0]
    completion = sum(usage(response)[1] for response in responses)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


class ChunkDialect(Dialect):
    """A dialect whose answers hold choices, and whose streams hold chunks of them."""

    SINGLE = False

    def engine_body(
        self,
        request: ApiRequest,
        member: str,
        *,
        seed: int | None,
        draw: bool,
        request_id: str = "",  # noqa: ARG002 - vLLM takes it from a header here
    ) -> EngineBody:
        own: Json = {"model": member, "seed": seed, "n": 1 if draw else request.choices, "stream": False}
        if request.stream and not draw:
            # The usage is sent and counted whether or not the caller asked for it; in every event only if he did.
            usage = {"include_usage": True, "continuous_usage_stats": request.continuous_usage}
            own |= {"stream": True, "stream_options": request.stream_options | usage}
        return EngineBody(request.rest, own)

    def usage(self, response: Json) -> Spent:
        return usage(response)

    def noted(self, origin: Origin, response: Json, note: Note, summary: Json) -> Json:
        for choice in response["choices"]:
            choice["alpharay"] = note(choice["index"])
        return {**response, "model": origin.model, "alpharay": summary}

    def passage(
        self,
        request: ApiRequest,
        origin: Origin,  # noqa: ARG002 - the engine's own id and name go through
        note: Note,
        closing: Closing,
    ) -> ChunkPassage:
        return ChunkPassage(request, note, closing)


class Chat(ChunkDialect):
    NAME = "chat"
    PATH = "/v1/chat/completions"
    ID = "chatcmpl-"
    SUMMARY = "Chat completions, by the ensemble or a pinned member"
    REQUIRED = ("messages",)
    FIELDS = CHOICE_FIELDS | {
        "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
        "tools": {"type": "array", "items": {"type": "object"}},
    }

    def tidied(self, fields: Json) -> tuple[Json, tuple[str, ...]]:
        if fields.get("messages") == []:
            raise malformed("`messages` is empty; send at least one", param="messages")
        return tidied(fields)

    def conversation(self, body: Json) -> str:
        return json.dumps([body.get("prompt_cache_key"), first_of_user(body.get("messages"))], sort_keys=True)

    def text(self, response: Json, request: ApiRequest | None = None) -> str:  # noqa: ARG002 - the answer says it
        content = response["choices"][0]["message"].get("content")
        return content if isinstance(content, str) else ""

    def calls(self, response: Json) -> list[Call]:
        calls = response["choices"][0]["message"].get("tool_calls") or []
        return [Call(call["function"]["name"], call["function"]["arguments"]) for call in calls]

    def called(self, response: Json, outputs: Sequence[str]) -> list[Json]:
        """The messages that continue a conversation after tool calls: the response's message, then each call's
        output.
        """
        message = response["choices"][0]["message"]
        made = message["tool_calls"]
        kept = {key: message[key] for key in ("content", "reasoning", "tool_calls") if message.get(key)}
        # Some templates refuse a message without content.
        assistant = {
            "role": "assistant",
            "content": "",
            **kept,
            "tool_calls": [_readable(call) for call in made],
        }
        return [assistant] + [
            {"role": "tool", "tool_call_id": call.get("id"), "content": output}
            for call, output in zip(made, outputs, strict=True)
        ]

    def offered(self, request: ApiRequest) -> Schemas:
        schemas: dict[str, Json | None] = {}
        for tool in objects(request.body.get("tools")):
            function = tool.get("function")
            if isinstance(function, dict):
                schemas[str(function.get("name"))] = function.get("parameters") or {}
        return schemas

    def answer(self, origin: Origin, responses: Sequence[Json], notes: Sequence[Json], summary: Json) -> Json:
        choices = [
            {**response["choices"][0], "index": index, "alpharay": note}
            for index, (response, note) in enumerate(zip(responses, notes, strict=True))
        ]
        return {
            **responses[0],
            "id": f"{self.ID}{origin.request_id}",
            "model": origin.model,
            "choices": choices,
            "usage": total(list(responses)),
            "alpharay": summary,
        }

    def replay(self, request: ApiRequest, origin: Origin) -> _Replay:
        return _Replay(request, origin)


def _readable(call: Json) -> Json:
    """The call as templates want it, with an object as its arguments whatever the model wrote."""
    function = call["function"]
    try:
        fine = isinstance(json.loads(function["arguments"]), dict)
    except (ValueError, RecursionError):
        fine = False
    arguments = function["arguments"] if fine else json.dumps({"code": function["arguments"]})
    return {
        "id": call.get("id"),
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def tidied(fields: Json) -> tuple[Json, tuple[str, ...]]:
    """The fields as vLLM takes them, and what was left out."""
    fields, left_out = dict(fields), list[str]()
    if fields.get("tools") == []:
        left_out.append("tools: none")
    if not fields.get("tools"):
        fields.pop("tools", None)
        # Without tools these two say what is so anyway; any other choice is for vLLM to refuse.
        if fields.get("tool_choice") in (None, "auto", "none") and fields.pop("tool_choice", None) == "auto":
            left_out.append("tool_choice")
    if isinstance(fields.get("messages"), list):
        fields["messages"] = [_message(message) for message in fields["messages"]]
    return fields, tuple(left_out)


def _message(message: Any) -> Any:
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return message
    kept = {key: value for key, value in message.items() if value is not None or key == "content"}
    refusal = kept.pop("refusal", None)
    if isinstance(refusal, str) and not kept.get("content"):
        kept["content"] = refusal
    if kept.get("tool_calls") == []:
        del kept["tool_calls"]
    # Some templates refuse a message without content.
    if kept.get("content", "") is None and not kept.get("tool_calls"):
        kept["content"] = ""
    return kept


class _Replay(ChunkStream):
    def __init__(self, request: ApiRequest, origin: Origin) -> None:
        self._include_usage = request.include_usage
        self._continuous_usage = request.continuous_usage
        self._created = origin.created
        head = {"id": f"{Chat.ID}{origin.request_id}", "created": origin.created, "model": origin.model}
        self._empty = head | {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": None}],
        }

    def open(self) -> bytes:
        return b""

    def keep_alive(self) -> bytes:
        # Some clients count bytes, some count events.
        return COMMENT + event(self._empty)

    def finish(self, whole: Json) -> Iterator[bytes]:
        return events(
            {**whole, "created": self._created},
            include_usage=self._include_usage,
            continuous_usage=self._continuous_usage,
        )


def events(whole: Json, *, include_usage: bool, continuous_usage: bool = False) -> Iterator[bytes]:
    """A finished answer as the events of a stream, one choice after the other.

    The answer's `alpharay` object travels in the last data event. With `continuous_usage` each event carries the
    answer's usage: all of it has been generated before the first event.
    """
    head = {key: whole[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    if continuous_usage:
        head["usage"] = whole["usage"]
    last = len(whole["choices"]) - 1
    for number, choice in enumerate(whole["choices"]):
        index, message = choice["index"], choice["message"]
        role = {"role": message.get("role", "assistant"), "content": ""}
        yield event({**head, "choices": [{"index": index, "delta": role, "finish_reason": None}]})
        delta = {key: value for key, value in message.items() if key != "role" and value}
        if tool_calls := delta.get("tool_calls"):
            delta["tool_calls"] = [{"index": position, **call} for position, call in enumerate(tool_calls)]
        body = {"index": index, "delta": delta, "logprobs": choice.get("logprobs"), "finish_reason": None}
        # What the engine adds to a choice on request, such as `token_ids`, goes with its text.
        body |= {key: value for key, value in choice.items() if key not in _CHOICE and value is not None}
        yield event({**head, "choices": [body], **_of_the_prompt(whole, number)})
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


_CHOICE = frozenset(
    {"index", "message", "logprobs", "finish_reason", "stop_reason", "alpharay", "delta"}
)  # fmt: skip


def _of_the_prompt(whole: Json, number: int) -> Json:
    """The engine's optional details of the prompt, on the first choice only."""
    details = {key: whole.get(key) for key in ("prompt_logprobs", "prompt_token_ids")}
    return {key: value for key, value in details.items() if value is not None and number == 0}


chat = Chat()
