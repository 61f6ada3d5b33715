"""Which of several answers to a request with tools comes back, where there are no tests to tell.

Whole messages are compared, and one is returned as it is: never a call of one and a text of another. Answers
with a call that the model was not offered, or whose arguments do not fit its schema, come last. Of the others the
form that most agree on wins: the same calls, or no call at all; between equals calls come before talk, and then
the first drawn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from alpharay.router import Candidate
from alpharay.serve.dialects.dialect import Call, Schemas

Form = tuple[tuple[str, str], ...]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def ranked(
    candidates: Sequence[Candidate], calls: Callable[[Any], list[Call]], offered: Schemas
) -> list[Candidate]:
    """Best first. calls: of a candidate's payload."""
    forms = {candidate.draw.index: form_of(calls(candidate.payload), offered) for candidate in candidates}
    votes = Counter(form for form in forms.values() if form is not None)

    def rank(candidate: Candidate) -> tuple[bool, int, bool, int]:
        form = forms[candidate.draw.index]
        return form is None, -votes[form] if form is not None else 0, not form, candidate.draw.index

    return sorted(candidates, key=rank)


def form_of(calls: Sequence[Call], offered: Schemas) -> Form | None:
    """The calls in a form in which equal ones are equal; None when one of them cannot be made."""
    form = []
    for call in calls:
        if call.name not in offered:
            return None
        schema = offered[call.name]
        if schema is None:
            form.append((call.name, call.arguments.strip()))
            continue
        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):
            return None
        if not isinstance(arguments, dict) or not fits(arguments, schema):
            return None
        form.append((call.name, json.dumps(_plain(arguments), sort_keys=True)))
    return tuple(form)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.strip() if isinstance(value, str) else value


def fits(value: Any, schema: Any, depth: int = 0) -> bool:
    """Whether a value fits a JSON schema, as far as types, required fields, enumerations and nesting go.

    Not a whole validator: callers write the schemas, and one with patterns and references can be made to take
    for ever. What is not understood is taken to fit.
    """
    if not isinstance(schema, dict) or depth > 32:
        return True
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if names and not any(_is(value, name) for name in names):
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        return False
    some = next((schema[word] for word in ("anyOf", "oneOf") if isinstance(schema.get(word), list)), None)
    if some is not None and not any(fits(value, branch, depth + 1) for branch in some):
        return False
    if isinstance(value, dict):
        return _object_fits(value, schema, depth)
    if isinstance(value, list):
        return all(fits(item, schema.get("items"), depth + 1) for item in value)
    return True


def _object_fits(value: dict[str, Any], schema: dict[str, Any], depth: int) -> bool:
    required, properties = schema.get("required"), schema.get("properties")
    if isinstance(required, list) and any(name not in value for name in required if isinstance(name, str)):
        return False
    known = properties if isinstance(properties, dict) else {}
    others = schema.get("additionalProperties")
    if others is False and "patternProperties" not in schema and not value.keys() <= known.keys():
        return False
    return all(fits(item, known.get(name, others), depth + 1) for name, item in value.items())


def _is(value: Any, name: object) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return not isinstance(name, str) or isinstance(value, _TYPES.get(name, (object,)))
