"""What alpharay reads of a request, whichever dialect it comes in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from alpharay.serve.errors import malformed
from alpharay.serve.spelling import shown

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """What alpharay itself needs to know of a request; everything else goes to the engine as it came.

    rest: as JSON, all that the engine is sent as it came: encoded once, however many samples are drawn.
    choices: how many come back. budget: from `best_of`. seed: None when the caller gave none.
    tools: whether the model may call tools. conversation: the same for every turn of one conversation.
    prompts: more than 1 only for completions, where one request may hold several.
    changed: what was left out or converted because vLLM would refuse it, one line each.
    context: how many tokens the model takes, prompt and answer together; 0 where that is not known.
    """

    body: Json
    rest: str
    model: str | None
    stream: bool
    greedy: bool
    seed: int | None
    choices: int = 1
    budget: int | None = None
    stream_options: Json = field(default_factory=dict)
    tools: bool = False
    conversation: str = ""
    prompts: int = 1
    changed: tuple[str, ...] = ()
    context: int = 0

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options.get("include_usage"))

    @property
    def continuous_usage(self) -> bool:
        """Whether every event carries usage, which vLLM ties to `include_usage`."""
        return self.include_usage and bool(self.stream_options.get("continuous_usage_stats"))


# Fields that are ours alone, or that differ from sample to sample; `request_id` would let callers
# choose ids that collide in the engine, `cache_salt` is the server's to set.
OURS = frozenset(
    {"alpharay", "best_of", "model", "n", "seed", "stream", "stream_options", "request_id", "cache_salt"}
)


# Going through every value of a large request would hold all others up; in its text such a number is found at once.
_MANY_DIGITS = re.compile(r"\d{19}")


def for_the_engine(fields: Json) -> str:
    """What the engine is sent as it came, as JSON.

    Raises RequestError (400) for what it would stumble over between its processes, keeping the request's
    place for good: text that is not Unicode, numbers beyond 64 bits, a structure that is none.
    """
    if not isinstance(fields.get("structured_outputs") or {}, dict):
        raise malformed("`structured_outputs` must be an object", param="structured_outputs")
    try:
        text = json.dumps(fields, ensure_ascii=False)
        text.encode()
    except RecursionError:
        raise malformed("the request's JSON is nested too deeply") from None
    except UnicodeEncodeError:
        raise malformed("the request holds half a surrogate pair, which is not text") from None
    if _MANY_DIGITS.search(text):
        _check_numbers(fields)
    return text


def _check_numbers(fields: Json) -> None:
    waiting: list[Any] = [fields]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise malformed(f"a number is beyond 64 bits: {shown(value)}")


# A request's first samples, which take no turn at shared cores: as many as the default budget.
_FIRST_SAMPLES = 16
# Beyond the priority of any sample that somebody waits for.
_BACKGROUND = 64


def engine_headers(request_id: str, drawn: int = 0, *, background: bool = False) -> dict[str, str]:
    """The headers of an engine's request.

    request_id: the request's, without a dash, and for one of several samples `-` and which. drawn: samples that the request
    had before this one; of one that draws several choices, all but one of these.

    background: of a batch: every other request's samples go first, and where the engine's cache is full, take its place.

    A request's first samples go before the later ones of others: a small request beside one of 250 samples waits for a
    slot of its engine, not for what the large one has queued there. Doublings share a priority, as waves do. While
    an engine is never without first samples, later ones wait, up to their request's deadline. A caller's own `priority`
    gives way to it.
    """
    priority = drawn.bit_length() + (_BACKGROUND if background else 0)
    return {"x-request-id": request_id, "x-vllm-priority": str(priority)}


@dataclass(frozen=True, slots=True)
class SampleOrder:
    """request: whose sample it is. later: beyond the request's first ones, or of a batch (background)."""

    request: str
    later: bool
    background: bool


def sample_order(headers: Mapping[str, str]) -> SampleOrder | None:
    """Reads what `engine_headers` wrote. None: it is no sample of a request, but of an evaluation, or a prompt whose tokens are counted."""
    if "x-vllm-priority" not in headers:
        return None
    priority = int(headers["x-vllm-priority"])
    return SampleOrder(
        request=headers["x-request-id"].partition("-")[0],
        later=priority > (_FIRST_SAMPLES - 1).bit_length(),
        background=priority >= _BACKGROUND,
    )


@dataclass(frozen=True, slots=True)
class EngineBody:
    """What an engine is sent. rest: what came, as JSON, one object for all samples of a request. own: fields of this one."""

    rest: str
    own: Json

    def whole(self) -> str:
        """As one JSON object."""
        rest = self.rest.removesuffix("}")
        return f"{rest}{', ' if rest != '{' else ''}{json.dumps(self.own)[1:]}"


def salted(request: ApiRequest, salt: str) -> ApiRequest:
    """The request with a prefix cache of its own in the engine."""
    return replace(request, rest=EngineBody(request.rest, {"cache_salt": salt}).whole())


def greedy(temperature: object) -> bool:
    """Whether the engine, which reads numbers from strings too, will sample without chance."""
    try:
        return temperature is not None and float(temperature) == 0  # type: ignore[arg-type]  # that is the question
    except (TypeError, ValueError, OverflowError):
        return False


def seed(body: Mapping[str, Any]) -> int | None:
    seed_value: int | None = typed(body, "seed", int)
    if seed_value is not None and not -(2**63) <= seed_value < 2**63:
        raise malformed(f"`seed` must fit 64 bits, got {shown(seed_value)}", param="seed")
    return seed_value


def typed(body: Mapping[str, Any], name: str, kind: type) -> Any:
    value = body.get(name)
    if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    wanted = {str: "a string", bool: "true or false", int: "an integer", dict: "an object"}[kind]
    raise malformed(f"`{name}` must be {wanted}, got {json.dumps(value, default=str)[:80]}", param=name)


def positive(body: Mapping[str, Any], name: str) -> int | None:
    value: int | None = typed(body, name, int)
    if value is not None and value < 1:
        raise malformed(f"`{name}` must be at least 1, got {shown(value)}", param=name)
    return value


def stream_options(body: Json) -> Json:
    """Raises RequestError (400), as vLLM does for options of a stream that was not asked for."""
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise malformed("`stream_options` must be an object", param="stream_options")
    if options and not body.get("stream"):
        raise malformed("Stream options can only be defined when `stream=True`.", param="stream_options")
    for name in ("include_usage", "continuous_usage_stats"):
        typed(options, name, bool)
    return options


def among(value: object, known: frozenset[str]) -> bool:
    """Whether a field's value is one of those words; callers may send anything."""
    return isinstance(value, str) and value in known


def objects(value: object) -> list[Json]:
    """The objects in a list; empty for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number(value: object) -> int:
    """A count that an engine reported, or 0."""
    return value if isinstance(value, int) else 0


def first_of_user(turns: object) -> Json | None:
    """The user's first message, by which a conversation is known."""
    return next((turn for turn in objects(turns) if turn.get("role") == "user"), None)


def prompt_text(body: Mapping[str, Any]) -> str:
    """The last message of the user, or the prompt, as plain text for the router's features; empty where there is none.

    What comes before is the same for all of a client's requests (a system prompt), or has been answered.
    """
    for name in ("messages", "input", "prompt"):
        value = body.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            user_turns = [turn for turn in objects(value) if turn.get("role", "user") == "user"]
            strings = [part for part in value if isinstance(part, str)]
            return (
                content_text(user_turns[-1].get("content", user_turns[-1]))
                if user_turns
                else "".join(strings[:1])
            )
    return ""


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or parts of which some have text."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") for part in objects(content)]
    return "\n".join(text for text in parts if isinstance(text, str))
