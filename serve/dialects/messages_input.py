"""What real agents send to Messages and vLLM's validator would refuse, left out or converted before it.

Tools that Anthropic's own servers run, or whose schema only its models know, cannot be offered to the model;
blocks of theirs are left out of the conversation. A document that is text becomes text. Everything left out
is said in the answer's `alpharay.left_out`.
"""

from __future__ import annotations

from typing import Any

from alpharay.serve.dialects.api_request import Json, among

OUR_SIGNATURE = "alpharay"

_BLOCKS = frozenset(
    {
        "text",
        "image",
        "tool_use",
        "tool_result",
        "tool_reference",
        "thinking",
        "redacted_thinking",
        "tool_addition",
        "tool_removal",
    }
)
_THINKING = frozenset({"enabled", "disabled", "adaptive"})
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})


def tidied(fields: Json) -> tuple[Json, tuple[str, ...]]:
    """The fields as vLLM takes them, and what was left out."""
    fields, left_out = dict(fields), set[str]()
    if isinstance(fields.get("messages"), list):
        fields["messages"] = [_message(message, left_out) for message in fields["messages"]]
    if isinstance(fields.get("system"), list):
        fields["system"] = _blocks(fields["system"], left_out)
    if isinstance(fields.get("tools"), list):
        fields["tools"] = _tools(fields["tools"], left_out)
        _drop_unoffered_choice(fields, left_out)
    thinking = fields.get("thinking")
    if isinstance(thinking, dict) and not among(thinking.get("type"), _THINKING):
        left_out.add("thinking")
        del fields["thinking"]
    output = fields.get("output_config")
    if isinstance(output, dict) and not among(output.get("effort"), _EFFORTS):
        fields["output_config"] = {key: value for key, value in output.items() if key != "effort"}
    return fields, tuple(sorted(left_out))


def _message(message: Any, left_out: set[str]) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    return message | {"content": _blocks(message["content"], left_out)}


def _blocks(blocks: list[Any], left_out: set[str]) -> list[Any]:
    return [kept for block in blocks for kept in _block(block, left_out)]


def _block(block: Any, left_out: set[str]) -> list[Any]:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        return [block]  # malformed: vLLM says how
    if kind == "thinking" and block.get("signature") == OUR_SIGNATURE:
        return []  # what kept the connection alive is no thought of the model's
    if kind in _BLOCKS:
        return [block]
    source = block.get("source")
    if kind == "document" and isinstance(source, dict) and source.get("type") == "text":
        return [{"type": "text", "text": str(source.get("data", ""))}]
    left_out.add(f"content: {kind[:80]}")
    return []


def _tools(tools: list[Any], left_out: set[str]) -> list[Any]:
    kept = []
    for tool in tools:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in (None, "custom"):
            left_out.add(f"tools: {str(kind)[:80]}")
        elif isinstance(tool, dict) and tool.get("input_schema") is None:
            kept.append(tool | {"input_schema": {"type": "object"}})
        else:
            kept.append(tool)
    return kept


def _drop_unoffered_choice(fields: Json, left_out: set[str]) -> None:
    """A choice among tools of which none is left would be refused."""
    choice, tools = fields.get("tool_choice"), fields["tools"]
    if not tools:
        del fields["tools"]
    if isinstance(choice, dict):
        names = [tool.get("name") for tool in tools if isinstance(tool, dict)]
        gone = choice.get("type") == "tool" and choice.get("name") not in names
        if not tools or gone:
            left_out.add("tool_choice")
            del fields["tool_choice"]
