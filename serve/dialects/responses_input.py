"""What real agents send to Responses and vLLM's validator would refuse, left out or converted before it.

Tool calls that the server itself would have to make (web search, code interpreter, …) cannot be made here, so
those tools are not offered to the model. Items of theirs in a conversation, and what only OpenAI can read
(encrypted reasoning), are left out of it. Everything left out is said in the answer's `alpharay.left_out`.
"""

from __future__ import annotations

from typing import Any

from alpharay.serve.dialects.api_request import Json, among

_TOOLS = frozenset({"function", "custom", "namespace"})
_ITEMS = frozenset(
    {
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
    }
)
_TEXTS = frozenset({"text", "input_text", "output_text"})
_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})
_INCLUDE = frozenset({"message.output_text.logprobs"})


def tidied(fields: Json) -> tuple[Json, tuple[str, ...]]:
    """The fields as vLLM takes them, and what was left out."""
    fields, left_out = dict(fields), set[str]()
    if isinstance(fields.get("tools"), list):
        fields["tools"] = _tools(fields["tools"], left_out)
        if not _offered(fields.get("tool_choice"), fields["tools"]):
            left_out.add("tool_choice")
            del fields["tool_choice"]
    elif fields.get("tools", 0) is None:
        del fields["tools"]
    if fields.get("tool_choice", 0) is None:
        del fields["tool_choice"]
    if isinstance(fields.get("input"), list):
        fields["input"] = [item for entry in fields["input"] for item in _item(entry, left_out)]
    if isinstance(fields.get("include"), list):
        fields["include"] = [entry for entry in fields["include"] if among(entry, _INCLUDE)] or None
    reasoning = fields.get("reasoning")
    if isinstance(reasoning, dict):
        effort = reasoning.get("effort")
        fields["reasoning"] = {"effort": effort} if among(effort, _EFFORTS) else None
    if not among(fields.get("service_tier"), _TIERS):
        fields.pop("service_tier", None)
    return fields, tuple(sorted(left_out))


def _tools(tools: list[Any], left_out: set[str]) -> list[Any]:
    kept = []
    for tool in tools:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str):
            kept.append(tool)  # malformed: vLLM says how
        elif kind not in _TOOLS:
            left_out.add(f"tools: {kind[:80]}")
        elif kind == "namespace":
            inner = tool.get("tools")
            kept.append(tool | {"tools": _tools(inner, left_out)} if isinstance(inner, list) else tool)
        elif kind == "function":
            kept.append({"strict": None, "parameters": {"type": "object", "properties": {}}} | tool)
        else:
            grammar = isinstance(tool.get("format"), dict) and tool["format"].get("type") == "grammar"
            if grammar:
                left_out.add(f"tools: the grammar of {str(tool.get('name'))[:80]}")
            kept.append({key: value for key, value in tool.items() if key != "format" or not grammar})
    return kept


def _offered(choice: object, tools: list[Any]) -> bool:
    """Whether what `tool_choice` asks for is among the tools that are left."""
    if choice is None or choice in ("auto", "none"):
        return True
    if choice == "required":
        return bool(tools)
    if isinstance(choice, dict) and isinstance(choice.get("type"), str):
        return choice["type"] in {"function", "custom", "allowed_tools"} and bool(tools)
    return True  # malformed: vLLM says how


def _item(item: Any, left_out: set[str]) -> list[Any]:
    if not isinstance(item, dict):
        return [item]
    kind = item.get("type") or ("message" if "role" in item else None)
    if kind == "message" and isinstance(item.get("content"), list):
        return [_message(item)]
    if isinstance(kind, str) and kind not in _ITEMS:
        left_out.add(f"input: {kind[:80]}")
        return []
    if kind == "reasoning":
        item = {key: value for key, value in item.items() if key != "encrypted_content" and value is not None}
        item.setdefault("summary", [])
        return [item] if item.get("content") or item["summary"] else []
    return [item]


def _message(item: Json) -> Json:
    """A message whose parts vLLM reads, whoever wrote it down.

    An earlier answer may come back without what it was given out with (type, id, status, annotations), or with the
    parts of a user's; of its parts vLLM reads the first, and no refusal.
    """
    if item.get("role") == "assistant":
        texts = [_words(part) for part in item["content"]]
        if any(text is None for text in texts):
            return item  # malformed: vLLM says how
        return {"type": "message", "role": "assistant", "content": "".join(map(str, texts))}
    parts = [
        part | {"type": "input_text"} if isinstance(part, dict) and among(part.get("type"), _TEXTS) else part
        for part in item["content"]
    ]
    return item | {"content": parts}


def _words(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    words = part.get("refusal") if kind == "refusal" else part.get("text") if among(kind, _TEXTS) else None
    return words if isinstance(words, str) else None
