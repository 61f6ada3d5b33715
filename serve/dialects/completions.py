"""OpenAI's legacy completions: text in, text out, with `suffix` where the model fills in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from alpharay.serve.dialects.api_request import ApiRequest, Json
from alpharay.serve.dialects.chat import CHOICE_FIELDS, ChunkDialect, ChunkStream, total
from alpharay.serve.dialects.dialect import Origin
from alpharay.serve.dialects.openai import COMMENT, DONE, event


class Completions(ChunkDialect):
    NAME = "completions"
    PATH = "/v1/completions"
    ID = "cmpl-"
    SUMMARY = "Completions of a text, by the ensemble or a pinned member"
    REQUIRED = ("prompt",)
    FIELDS = CHOICE_FIELDS | {
        "prompt": {"anyOf": [{"type": "string"}, {"type": "array"}]},
        "suffix": {"type": "string"},
    }

    def read(self, body: Json) -> ApiRequest:
        return replace(super().read(body), prompts=_prompts(body.get("prompt")))

    def tidied(self, fields: Json) -> tuple[Json, tuple[str, ...]]:
        if fields.get("suffix") == "":
            del fields["suffix"]  # clients send it empty; vLLM would ask the model to fill in the middle
        return fields, ()

    def may_call(self, fields: Json) -> bool:  # noqa: ARG002 - no tools here
        return False

    def conversation(self, body: Json) -> str:
        return json.dumps(body.get("prompt"))

    def text(self, response: Json, request: ApiRequest | None = None) -> str:
        """With `echo` this is prompt and completion: so a program that is being continued is judged whole.

        What was filled in between prompt and `suffix` is nothing without them.
        """
        completion = response["choices"][0].get("text")
        words = completion if isinstance(completion, str) else ""
        if request is not None and request.body.get("suffix"):
            prompt = request.body.get("prompt")
            before = prompt[0] if isinstance(prompt, list) and prompt else prompt
            return f"{before}{words}{request.body['suffix']}"
        return words

    def answer(self, origin: Origin, responses: Sequence[Json], notes: Sequence[Json], summary: Json) -> Json:
        """A response to several prompts has a choice for each, and is the only one."""
        choices = [
            {**choice, "alpharay": note}
            for response, note in zip(responses, notes, strict=True)
            for choice in response["choices"]
        ]
        return {
            **responses[0],
            "id": f"{self.ID}{origin.request_id}",
            "model": origin.model,
            "choices": [{**choice, "index": index} for index, choice in enumerate(choices)],
            "usage": total(list(responses)),
            "alpharay": summary,
        }

    def replay(self, request: ApiRequest, origin: Origin) -> _Replay:
        return _Replay(request, origin)


def _prompts(prompt: object) -> int:
    """How many prompts there are: a list of numbers is one, in tokens."""
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return len(prompt) if several and isinstance(prompt, list) else 1


class _Replay(ChunkStream):
    def __init__(self, request: ApiRequest, origin: Origin) -> None:
        self._include_usage = request.include_usage
        self._continuous_usage = request.continuous_usage
        self._head = {
            "id": f"{Completions.ID}{origin.request_id}",
            "object": "text_completion",
            "created": origin.created,
            "model": origin.model,
        }

    def open(self) -> bytes:
        return b""

    def keep_alive(self) -> bytes:
        empty = {"index": 0, "text": "", "logprobs": None, "finish_reason": None}
        return COMMENT + event({**self._head, "choices": [empty]})

    def finish(self, whole: Json) -> Iterator[bytes]:
        last = len(whole["choices"]) - 1
        head = self._head | ({"usage": whole["usage"]} if self._continuous_usage else {})
        for number, choice in enumerate(whole["choices"]):
            closing = {"alpharay": whole["alpharay"]} if number == last and not self._include_usage else {}
            yield event({**head, "choices": [choice], **closing})
        if self._include_usage:
            end = {"choices": [], "usage": whole["usage"], "alpharay": whole["alpharay"]}
            yield event({**self._head, **end})
        yield DONE


completions = Completions()
