"""What every dialect must offer, and what all of them read from a request in the same way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from alpharay.serve.errors import RequestError, malformed
from alpharay.serve.spelling import shown

Json = dict[str, Any]
Spent = tuple[int, int]
"""(prompt tokens, completion tokens)"""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Under which name and id an answer goes out. created: Unix time."""

    request_id: str
    model: str
    created: int


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call of an answer. arguments: as the model wrote them, JSON or not."""

    name: str
    arguments: str


Schemas = Mapping[str, Json | None]
"""Per tool its arguments' JSON schema; None: its argument is free text."""


class Replay(Protocol):
    """The stream of an answer that is still being worked on: opened, kept alive, and finished or failed."""

    def open(self) -> bytes:
        """What goes out with the headers; may be empty."""
        ...

    def keep_alive(self) -> bytes: ...

    def finish(self, whole: Json) -> Iterator[bytes]:
        """A finished answer as its dialect's events, the last of which carries `alpharay`."""
        ...

    def fail(self, error: RequestError) -> Iterator[bytes]: ...


class Passage(Protocol):
    """An engine's own stream on its way to the client, one server-sent event after the other.

    texted: whether text has gone through. begun: whether what came is the engine's answer, so that it has not refused.
    """

    texted: bool
    begun: bool

    def through(self, event: bytes) -> Iterator[bytes]:
        """What goes out for one event of the engine's. Raises EngineError when it tells of an error."""
        ...

    def fail(self, error: RequestError) -> Iterator[bytes]: ...


class EngineError(Exception):
    """An engine's stream told of an error. body: its error object as JSON. status: the HTTP status it would have had."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body[:500].decode(errors="replace"))
        self.body = body
        try:
            told = json.loads(body)
        except ValueError:
            told = None
        error = told.get("error") if isinstance(told, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        self.status = code if isinstance(code, int) and 400 <= code < 600 else 500


Note = Callable[[int], Json]
"""The `alpharay` object of the choice with that index."""
Closing = Callable[[Spent], Json]
"""The `alpharay` object of the whole answer, once what was spent is known. Called once."""


class Dialect(Protocol):
    """One HTTP dialect; each module in this folder that has a PATH is one.

    NAME: the `endpoint` of metrics. PATH: of this server and of vLLM, the same. SINGLE: whether an answer has room for
    one candidate only.
    """

    NAME: str
    PATH: str
    SINGLE: bool

    def read(self, body: Json) -> ApiRequest:
        """Raises RequestError (400) where a field that alpharay itself uses cannot be used."""
        ...

    def engine_body(
        self, request: ApiRequest, member: str, *, seed: int | None, draw: bool, request_id: str
    ) -> bytes:
        """The body for the member's own endpoint: one sample of a draw, or the request passed through."""
        ...

    def text(self, response: Json, request: ApiRequest | None = None) -> str:
        """What a judge reads: the answer itself, without reasoning or tool calls.

        request: given where it says what the answer is a part of.
        """
        ...

    def calls(self, response: Json) -> list[Call]: ...

    def offered(self, request: ApiRequest) -> Schemas:
        """The tools that the model may call."""
        ...

    def usage(self, response: Json) -> Spent: ...

    def answer(self, origin: Origin, responses: Sequence[Json], notes: Sequence[Json], summary: Json) -> Json:
        """One answer of those responses, best first. notes: `alpharay` of each choice. summary: of the whole."""
        ...

    def noted(self, origin: Origin, response: Json, note: Note, summary: Json) -> Json:
        """A pinned member's own answer with our notes added."""
        ...

    def replay(self, request: ApiRequest, origin: Origin) -> Replay: ...

    def passage(self, request: ApiRequest, origin: Origin, note: Note, closing: Closing) -> Passage: ...

    def error_body(self, error: RequestError) -> Json: ...


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


def with_own(rest: str, own: Json) -> bytes:
    """The engine's body: what came, and what is ours."""
    rest = rest.removesuffix("}")
    return f"{rest}{', ' if rest != '{' else ''}{json.dumps(own)[1:]}".encode()


def salted(request: ApiRequest, salt: str) -> ApiRequest:
    """The request with a prefix cache of its own in the engine."""
    return replace(request, rest=with_own(request.rest, {"cache_salt": salt}).decode())


def greedy(temperature: object) -> bool:
    """Whether the engine, which reads numbers from strings too, will sample without chance."""
    try:
        return temperature is not None and float(temperature) == 0  # type: ignore[arg-type]  # that is the question
    except (TypeError, ValueError, OverflowError):
        return False


def seed(body: Mapping[str, Any]) -> int | None:
    found: int | None = typed(body, "seed", int)
    if found is not None and not -(2**63) <= found < 2**63:
        raise malformed(f"`seed` must fit 64 bits, got {shown(found)}", param="seed")
    return found


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


def among(value: object, known: frozenset[str]) -> bool:
    """Whether a field's value is one of those words; callers may send anything."""
    return isinstance(value, str) and value in known


def objects(value: object) -> list[Json]:
    """The objects in a list, where it is one."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def number(value: object) -> int:
    """A count that an engine told, or 0."""
    return value if isinstance(value, int) else 0
