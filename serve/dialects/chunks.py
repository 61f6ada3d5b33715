"""What chat and legacy completions have in common: choices, streamed in chunks, then `[DONE]`."""

from __future__ import annotations

import json
from collections.abc import Iterator

from alpharay.serve.dialects.api_request import ApiRequest, EngineBody, Json
from alpharay.serve.dialects.dialect import Closing, Dialect, EngineError, Note, Origin, Spent
from alpharay.serve.dialects.openai import DONE, data_of, error_body, event
from alpharay.serve.errors import RequestError


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
            # The spend is told and counted whether or not the caller asked for it; in every event only if he did.
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


# What both endpoints take besides their prompt.
CHOICE_FIELDS: Json = {
    "n": {"type": "integer", "minimum": 1},
    "best_of": {"type": "integer", "minimum": 1},
    "max_tokens": {"type": "integer"},
    "stream_options": {"type": "object"},
}
