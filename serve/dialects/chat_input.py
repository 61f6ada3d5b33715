"""What real agents send to chat completions and vLLM's validator would refuse, left out or converted before it.

An empty list of tools is none. An assistant's message comes back as client libraries give it out: with every field
that it has no value for as null, and a refusal beside its content. What is left out is said in `alpharay.left_out`.
"""

from __future__ import annotations

from typing import Any

from alpharay.serve.dialects.api_request import Json


def tidied(fields: Json) -> tuple[Json, tuple[str, ...]]:
    """The fields as vLLM takes them, and what was left out."""
    fields, left_out = dict(fields), list[str]()
    if fields.get("tools") == []:
        left_out.append("tools: none")
    if not fields.get("tools"):
        fields.pop("tools", None)
        # Without tools these two say what is so anyway; any other choice is for vLLM to refuse.
        if fields.get("tool_choice") in (None, "auto", "none") and fields.pop("tool_choice", None) == "auto":
            left_out.append("tool_choice")
    if isinstance(fields.get("messages"), list):
        fields["messages"] = [_message(message) for message in fields["messages"]]
    return fields, tuple(left_out)


def _message(message: Any) -> Any:
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return message
    kept = {key: value for key, value in message.items() if value is not None or key == "content"}
    refusal = kept.pop("refusal", None)
    if isinstance(refusal, str) and not kept.get("content"):
        kept["content"] = refusal
    if kept.get("tool_calls") == []:
        del kept["tool_calls"]
    # Some templates refuse a message without content.
    if kept.get("content", "") is None and not kept.get("tool_calls"):
        kept["content"] = ""
    return kept
