"""OpenAI's legacy completions: text in, text out, with `suffix` where the model fills in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from alpharay.serve.dialects import dialect as d
from alpharay.serve.dialects.chunks import engine_options, passage, stream_options, total, usage
from alpharay.serve.dialects.dialect import ApiRequest, Call, Json, Note, Origin, Schemas
from alpharay.serve.dialects.openai import COMMENT, DONE, error_body, event
from alpharay.serve.errors import RequestError

__all__ = ["NAME", "PATH", "SINGLE", "answer", "calls", "engine_body", "error_body", "noted", "offered", "passage", "read",
           "replay", "text", "usage"]  # fmt: skip

NAME = "completions"
PATH = "/v1/completions"
SINGLE = False


def read(body: Json) -> ApiRequest:
    rest = {key: value for key, value in body.items() if key not in d.OURS}
    if rest.get("suffix") == "":
        del rest["suffix"]  # clients send it empty; vLLM would ask the model to fill in the middle
    return ApiRequest(
        body=body,
        rest=d.for_the_engine(rest),
        stream_options=stream_options(body),
        model=d.typed(body, "model", str),
        choices=d.positive(body, "n") or 1,
        budget=d.positive(body, "best_of"),
        stream=bool(d.typed(body, "stream", bool)),
        greedy=d.greedy(body.get("temperature")),
        seed=d.seed(body),
        conversation=json.dumps(body.get("prompt")),
        prompts=_prompts(body.get("prompt")),
    )


def _prompts(prompt: object) -> int:
    """How many prompts there are: a list of numbers is one, in tokens."""
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return len(prompt) if several and isinstance(prompt, list) else 1


def engine_body(
    request: ApiRequest,
    member: str,
    *,
    seed: int | None,
    draw: bool,
    request_id: str = "",  # noqa: ARG001 - vLLM takes it from a header here
) -> bytes:
    return d.with_own(request.rest, engine_options(request, member, seed, draw=draw))


def text(response: Json, request: ApiRequest | None = None) -> str:
    """With `echo` this is prompt and completion: so a program that is being continued is judged whole.

    What was filled in between prompt and `suffix` is nothing without them.
    """
    found = response["choices"][0].get("text")
    words = found if isinstance(found, str) else ""
    if request is not None and request.body.get("suffix"):
        prompt = request.body.get("prompt")
        before = prompt[0] if isinstance(prompt, list) and prompt else prompt
        return f"{before}{words}{request.body['suffix']}"
    return words


def calls(response: Json) -> list[Call]:  # noqa: ARG001 - the protocol's signature
    return []


def offered(request: ApiRequest) -> Schemas:  # noqa: ARG001 - the protocol's signature
    return {}


def answer(origin: Origin, responses: Sequence[Json], notes: Sequence[Json], summary: Json) -> Json:
    """A response to several prompts has a choice for each, and is the only one."""
    choices = [
        {**choice, "alpharay": note}
        for response, note in zip(responses, notes, strict=True)
        for choice in response["choices"]
    ]
    return {
        **responses[0],
        "id": f"cmpl-{origin.request_id}",
        "model": origin.model,
        "choices": [{**choice, "index": index} for index, choice in enumerate(choices)],
        "usage": total(list(responses)),
        "alpharay": summary,
    }


def noted(origin: Origin, response: Json, note: Note, summary: Json) -> Json:
    for choice in response["choices"]:
        choice["alpharay"] = note(choice["index"])
    return {**response, "model": origin.model, "alpharay": summary}


class _Replay:
    def __init__(self, request: ApiRequest, origin: Origin) -> None:
        self._include_usage = request.include_usage
        self._continuous_usage = request.continuous_usage
        self._head = {
            "id": f"cmpl-{origin.request_id}",
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

    def fail(self, error: RequestError) -> Iterator[bytes]:
        yield event(error_body(error))
        yield DONE


def replay(request: ApiRequest, origin: Origin) -> _Replay:
    return _Replay(request, origin)
