"""An engine's refusals and faults as errors of ours.

The refusal of a prompt that does not fit the model is in the words by which agents know that they must compact: OpenAI's
clients look for the code `context_length_exceeded`, Anthropic's for "prompt is too long: N tokens > M maximum".
"""

from __future__ import annotations

import json
import re

from alpharay.serve.dialects.api_request import ApiRequest
from alpharay.serve.dialects.structures import unusable
from alpharay.serve.errors import RequestError

CODE = "context_length_exceeded"

# As vLLM words it, depending on which of its checks comes first. Of a prompt that is far too long it tokenizes only
# as much as shows that it is: its count is then a lower bound.
_WORDINGS = (
    r"maximum context length is (?P<limit>\d+) tokens\. However, your prompt contains (?:at least )?(?P<tokens>\d+) input tokens",
    r"maximum context length is (?P<limit>\d+) tokens\. However, your prompt contains \d+ characters",
    r"\(length (?P<tokens>\d+)\).*longer than the maximum model length of (?P<limit>\d+)",
    r"Input length \((?P<tokens>\d+)\) exceeds model's maximum context length \((?P<limit>\d+)\)",
    r"prompt length (?P<tokens>\d+) exceeds the max_model_len (?P<limit>\d+)",
)
# The fields that bound an answer's tokens, over all dialects.
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# A prompt that fills the model to the last token leaves nothing to generate.
_NO_ROOM = "max_tokens must be at least 1, got 0"


class PromptTooLong(RequestError):
    """400: the prompt has `tokens` tokens or more, and the model takes `limit` with the answer."""

    def __init__(self, message: str, *, tokens: int, limit: int, param: str | None) -> None:
        super().__init__(400, message, param=param, code=CODE)
        self.tokens = tokens
        self.limit = limit


def _too_long(message: str, param: str | None) -> PromptTooLong | None:
    """The refusal, if the engine's message is of that kind."""
    for wording in _WORDINGS:
        if match := re.search(wording, message, re.DOTALL):
            limit = int(match["limit"])
            tokens = int(match.groupdict().get("tokens") or limit + 1)
            break
    else:
        return None
    if "maximum context length" not in message:
        # Some clients know it by OpenAI's sentence alone.
        message = f"This model's maximum context length is {limit} tokens. {message}"
    return PromptTooLong(message, tokens=max(tokens, limit + 1), limit=limit, param=param)


def _fills_the_model(message: str, request: ApiRequest) -> PromptTooLong | None:
    """The refusal of a prompt that leaves no room for a token."""
    limit = request.context
    if not limit or not message.startswith(_NO_ROOM) or any(request.body.get(name) == 0 for name in LIMITS):
        return None
    text = (
        f"This model's maximum context length is {limit} tokens. However, your prompt fills it, which leaves no room "
        "for output tokens. Please reduce the length of the input prompt."
    )
    return PromptTooLong(text, tokens=limit + 1, limit=limit, param="input_tokens")


def engine_fault(request: ApiRequest) -> RequestError:
    """Living engines fail on this very request, so that drawing again would not help: 500, or 400 where it asks for a
    structure, since then the structure is what they cannot use.
    """
    return unusable(request.body) or RequestError(
        500, "the engine fails on this request; an unusual field of it may be the reason"
    )


def refused(status: int, body: bytes, request: ApiRequest | None = None) -> RequestError:
    """The engine's own refusal (a prompt longer than the model, say) as ours. request: what it refused."""
    try:
        response = json.loads(body)
    except ValueError:
        response = None
    error = response.get("error") if isinstance(response, dict) else None
    if not isinstance(error, dict):
        return RequestError(
            400 if status == 422 else status,
            f"the engine refused the request: {body[:500].decode(errors='replace')}",
        )
    message = str(error.get("message"))
    if "--tool-call-parser" in message:
        message = (
            "the model is served without a parser for tool calls; name vLLM's under engine.extra, such as "
            "{enable_auto_tool_choice: true, tool_call_parser: hermes}, or send no tools"
        )
    param = error.get("param")
    too_long = _too_long(message, param) or (request and _fills_the_model(message, request))
    return too_long or RequestError(400 if status == 422 else status, message, param=param)
