"""What OpenAI's dialects share: the error object and the bytes of an event."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from alpharay.serve.dialects.api_request import Json
from alpharay.serve.errors import RequestError

DONE = b"data: [DONE]\n\n"
# Clients ignore comments; proxies on the way see that the connection is in use.
COMMENT = b": keep-alive\n\n"

_KINDS = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_body(error: RequestError) -> Json:
    """OpenAI's error object."""
    kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {
        "error": {"message": error.message, "type": kind, "param": error.param, "code": error.code},
    }


# JSON lets these stand in a string as they are, and the format of events ends no line there; but clients that split
# lines as Python's `str.splitlines` does, httpx among them, do.
_LINE_ENDS = {"\u2028".encode(): rb"\u2028", "\u2029".encode(): rb"\u2029", "\x85".encode(): rb"\u0085"}


def one_line(events: bytes) -> bytes:
    """The same events, whose JSON holds no character that some client takes for the end of a line."""
    for character, escaped in _LINE_ENDS.items():
        events = events.replace(character, escaped)
    return events


def encoded(data: Json) -> bytes:
    return one_line(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


def event(data: Json) -> bytes:
    return b"data: " + encoded(data) + b"\n\n"


def named_event(data: Json) -> bytes:
    """An event that is called by its `type`, as in Responses and Messages."""
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + encoded(data) + b"\n\n"


def data_of(event: bytes) -> bytes | None:
    """The data of one server-sent event; None if it has none."""
    for line in event.split(b"\n"):
        if line.startswith(b"data: "):
            return line.removeprefix(b"data: ")
    return None


async def events_of(parts: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """The server-sent events that each part completes, however the bytes were cut."""
    rest = b""
    async for part in parts:
        *whole, rest = (rest + part).split(b"\n\n")
        yield whole
