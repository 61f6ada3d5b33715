"""What every HTTP dialect must give. A new one is a module in this folder and a line in DIALECTS (`__init__.py`)."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from alpharay.serve.dialects import openai
from alpharay.serve.dialects.api_request import (
    OURS,
    ApiRequest,
    EngineBody,
    Json,
    for_the_engine,
    greedy,
    positive,
    seed,
    stream_options,
    typed,
)
from alpharay.serve.errors import RequestError

Spent = tuple[int, int]
"""(prompt tokens, completion tokens)"""


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
        """The output for one engine event. Raises EngineError for an error event."""
        ...

    def fail(self, error: RequestError) -> Iterator[bytes]: ...


class EngineError(Exception):
    """An engine's stream reported an error. body: its error object as JSON. status: the HTTP status it would have
    had.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body[:500].decode(errors="replace"))
        self.body = body
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        error = value.get("error") if isinstance(value, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        self.status = code if isinstance(code, int) and 400 <= code < 600 else 500


Note = Callable[[int], Json]
"""The `alpharay` object of the choice with that index."""
Closing = Callable[[Spent], Json]
"""The `alpharay` object of the whole answer, once what was spent is known. Called once."""


class Dialect(ABC):
    """One HTTP dialect, without state.

    NAME: the `endpoint` of metrics. PATH: of this server and of vLLM, the same. ID: what an answer's id begins with,
    before the request's own. SINGLE: whether an answer has room for one candidate only, so that `n` and `best_of` have
    no meaning. SUMMARY, REQUIRED and FIELDS are what `/openapi.json` says: of the endpoint, of fields that must be
    there, and the JSON schemas of the dialect's own fields.
    """

    NAME: ClassVar[str]
    PATH: ClassVar[str]
    ID: ClassVar[str]
    SINGLE: ClassVar[bool]
    SUMMARY: ClassVar[str]
    REQUIRED: ClassVar[Sequence[str]]
    FIELDS: ClassVar[Json]

    def __init__(self) -> None:
        """Raises TypeError, naming what a dialect's class lacks."""
        lacking = [name for name in Dialect.__annotations__ if not hasattr(self, name)]
        if lacking:
            raise TypeError(f"the dialect {type(self).__name__} lacks {', '.join(lacking)}")

    def read(self, body: Json) -> ApiRequest:
        """Raises RequestError (400) where a field that alpharay itself uses cannot be used."""
        fields, changed = self.tidied({key: value for key, value in body.items() if key not in OURS})
        several = not self.SINGLE
        return ApiRequest(
            body=body,
            rest=for_the_engine(fields),
            stream_options=stream_options(body) if several else {},
            model=typed(body, "model", str),
            choices=(positive(body, "n") or 1) if several else 1,
            budget=positive(body, "best_of") if several else None,
            stream=bool(typed(body, "stream", bool)),
            greedy=greedy(body.get("temperature")),
            seed=seed(body),
            tools=self.may_call(fields),
            conversation=self.conversation(body),
            changed=changed,
        )

    def tidied(self, fields: Json) -> tuple[Json, tuple[str, ...]]:
        """The fields as vLLM takes them, and a line for each that was left out or converted.

        Raises RequestError (400) where there is nothing to answer.
        """
        return fields, ()

    def may_call(self, fields: Json) -> bool:
        """Whether the model may call tools."""
        return bool(fields.get("tools")) and fields.get("tool_choice") != "none"

    @abstractmethod
    def conversation(self, body: Json) -> str:
        """The same text for every turn of one conversation."""

    @abstractmethod
    def engine_body(
        self, request: ApiRequest, member: str, *, seed: int | None, draw: bool, request_id: str = ""
    ) -> EngineBody:
        """The body for the member's own endpoint: one sample of a draw, or the request passed through.

        request_id: for dialects whose ids vLLM reads from the body; it takes the others' from a header.
        """

    @abstractmethod
    def text(self, response: Json, request: ApiRequest | None = None) -> str:
        """What a judge reads: the answer itself, without reasoning or tool calls.

        request: given where it says what the answer is a part of.
        """

    def calls(self, response: Json) -> list[Call]:  # noqa: ARG002 - a dialect without tools
        return []

    def offered(self, request: ApiRequest) -> Schemas:  # noqa: ARG002 - a dialect without tools
        """The tools that the model may call."""
        return {}

    @abstractmethod
    def usage(self, response: Json) -> Spent: ...

    @abstractmethod
    def answer(self, origin: Origin, responses: Sequence[Json], notes: Sequence[Json], summary: Json) -> Json:
        """One answer of those responses, best first. notes: `alpharay` of each choice. summary: of the whole."""

    def noted(self, origin: Origin, response: Json, note: Note, summary: Json) -> Json:
        """A pinned member's own answer with our notes added."""
        return self.answer(origin, [response], [note(0)], summary)

    @abstractmethod
    def replay(self, request: ApiRequest, origin: Origin) -> Replay: ...

    @abstractmethod
    def passage(self, request: ApiRequest, origin: Origin, note: Note, closing: Closing) -> Passage: ...

    def error_body(self, error: RequestError) -> Json:
        """OpenAI's error object."""
        return openai.error_body(error)
