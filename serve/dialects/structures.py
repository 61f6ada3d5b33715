"""Output structures (JSON schemas, regular expressions, grammars, choices) that no engine can use: refused before an
engine tries.

A schema that refers to itself without ever describing a value is found here. What else a grammar's compiler cannot
take (a grammar without end, an expression beyond its bounds) is known only when living engines have failed on it;
then the request's structure is the reason, not the engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from alpharay.serve.errors import RequestError, malformed

_BRANCHES = {"allOf": all, "anyOf": any, "oneOf": any}
_MOST = 2000  # parts of a schema that are looked at


def check(body: Mapping[str, Any]) -> None:
    """Raises RequestError (400) for a schema that describes no value."""
    for field, schema in _schemas(body):
        if not isinstance(schema, dict):
            continue
        try:
            endless = _is_endless(schema)
        except RecursionError:
            endless = False  # vLLM has a bound of its own for nesting
        if endless:
            raise malformed(
                f"`{field}`: the JSON schema refers to itself without describing a value; give the reference's target a type",
                param=field,
            )


def unusable(body: Mapping[str, Any]) -> RequestError | None:
    """400 for a request that asks for a structure; None where it asks for none."""
    field = _requested_field(body)
    if field is None:
        return None
    return malformed(
        f"`{field}`: the engine cannot use the structure that is asked for; a simpler schema, expression or grammar may do",
        param=field,
    )


def _requested_field(body: Mapping[str, Any]) -> str | None:
    if body.get("structured_outputs"):
        return "structured_outputs"
    for field, kind in (
        ("response_format", _dict(body.get("response_format")).get("type")),
        ("text.format", _dict(_dict(body.get("text")).get("format")).get("type")),
        ("output_config.format", _dict(_dict(body.get("output_config")).get("format")).get("type")),
    ):
        if kind not in (None, "text"):
            return field
    return "tools" if body.get("tools") and _must_call(body.get("tool_choice")) else None


def _schemas(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each schema that the answer, or a call that must be made, is held to, with its field."""
    yield "structured_outputs.json", _read(_dict(body.get("structured_outputs")).get("json"))
    own = _dict(_dict(body.get("response_format")).get("json_schema"))
    yield "response_format.json_schema", own.get("schema")
    yield "text.format.schema", _dict(_dict(body.get("text")).get("format")).get("schema")
    yield "output_config.format.schema", _dict(_dict(body.get("output_config")).get("format")).get("schema")
    tools = body.get("tools")
    if isinstance(tools, list) and _must_call(body.get("tool_choice")):
        for tool in map(_dict, tools):
            function = _dict(tool.get("function"))
            yield "tools", function.get("parameters") or tool.get("parameters") or tool.get("input_schema")


def _must_call(choice: object) -> bool:
    if isinstance(choice, dict):
        return choice.get("type") not in {"auto", "none"}
    return choice == "required"


def _is_endless(schema: Any) -> bool:
    """Whether finding out what the schema describes leads back to where it began, whichever branch is taken."""
    targets = _references(schema)
    if not targets:
        return False
    describing: set[str] = set()  # the references that come to a value; grows until nothing more is found
    while True:
        more = {
            name
            for name, target in targets.items()
            if name not in describing and _describes(target, describing, targets)
        }
        if not more:
            return not _describes(schema, describing, targets)
        describing |= more


def _references(schema: Any) -> dict[str, Any]:
    """The local references that the schema depends on, with their targets; empty for a schema that is too large to
    inspect.
    """
    targets: dict[str, Any] = {}
    waiting, looked = [schema], 0
    while waiting:
        node, looked = waiting.pop(), looked + 1
        if looked > _MOST:
            return {}
        if not isinstance(node, dict):
            continue
        name = node.get("$ref")
        if isinstance(name, str) and name.startswith("#") and name not in targets:
            targets[name] = _target(name, schema)
            waiting.append(targets[name])
        for word in _BRANCHES:
            waiting.extend(_list(node.get(word)))
    return targets


def _describes(schema: Any, describing: set[str], targets: dict[str, Any]) -> bool:
    """Whether the schema describes a finite value, given the references that do."""
    if not isinstance(schema, dict):
        return True
    name = schema.get("$ref")
    if isinstance(name, str) and name in targets and name not in describing:
        return False
    for word, suffices in _BRANCHES.items():
        branches = schema.get(word)
        describable = [_describes(branch, describing, targets) for branch in _list(branches)]
        if describable and not suffices(describable):
            return False
    return True


def _target(reference: str, whole: Any) -> Any:
    """What a local reference points to; None where there is nothing, which the engine says."""
    if not reference.startswith("#"):
        return None
    for name in unquote(reference[1:]).split("/")[1:]:
        key = name.replace("~1", "/").replace("~0", "~")
        if isinstance(whole, dict):
            whole = whole.get(key)
        elif isinstance(whole, list) and key.isdigit() and int(key) < len(whole):
            whole = whole[int(key)]
        else:
            return None
    return whole


def _read(schema: object) -> object:
    if not isinstance(schema, str):
        return schema
    try:
        return json.loads(schema)
    except (ValueError, RecursionError):
        return None  # the engine says what is wrong


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
