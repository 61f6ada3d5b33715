"""Anthropic's token counting: any member's engine knows, since all share one tokenizer."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from alpharay.serve.dialects import messages
from alpharay.serve.dialects.api_request import OURS
from alpharay.serve.dialects.messages_input import tidied
from alpharay.serve.gateway.routes.openapi import endpoint
from alpharay.serve.gateway.routes.tokenizing import any_engine
from alpharay.serve.gateway.server import Server

COUNT_PATH = f"{messages.PATH}/count_tokens"
COUNT_ENDPOINT = endpoint(
    "How many tokens a request to Messages would have",
    ["messages"],
    {name: messages.FIELDS[name] for name in ("messages", "system")},
)


async def count_tokens(server: Server, body: dict[str, Any]) -> Response:
    """Raises RequestError: 404 for a model that is not served, the engine's own refusal, or 503."""
    fields, _ = tidied({key: value for key, value in body.items() if key not in OURS})
    return await any_engine(server, COUNT_PATH, body, fields)
