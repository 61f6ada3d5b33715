"""What a request asks in words, for the router's features; the engine gets the request itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def prompt_text(body: Mapping[str, Any]) -> str:
    """The last message of the user, or the prompt, as plain text; empty where there is none.

    What comes before is the same for all of a client's requests (a system prompt), or has been answered.
    """
    for field in ("messages", "input", "prompt"):
        value = body.get(field)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            asked = [one for one in value if isinstance(one, dict) and one.get("role", "user") == "user"]
            strings = [one for one in value if isinstance(one, str)]
            return _text(asked[-1].get("content", asked[-1])) if asked else "".join(strings[:1])
    return ""


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return ""
    parts = [one.get("text") for one in content if isinstance(one, dict)]
    return "\n".join(part for part in parts if isinstance(part, str))
