"""`/v1/models` in the form that Anthropic's clients read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from alpharay.serve.errors import malformed
from alpharay.serve.spelling import shown

Json = dict[str, Any]

ASKED_BY = "anthropic-version"
_MOST = 1000
_DEFAULT = 20


def of_anthropic(model: Json) -> Json:
    """One model of OpenAI's form."""
    created = datetime.fromtimestamp(model["created"], UTC)
    return {
        "type": "model",
        "id": model["id"],
        "display_name": model["id"],
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "max_input_tokens": model["max_model_len"],
        "max_tokens": model["max_model_len"],
        "alpharay": model["alpharay"],
    }


def page(models: Sequence[Json], query: Mapping[str, str]) -> Json:
    """The part of the list that `limit`, `after_id` and `before_id` ask for. Raises RequestError (400)."""
    limit = _limit(query.get("limit"))
    ids = [model["id"] for model in models]
    start, end = 0, len(models)
    if after := query.get("after_id"):
        start = _index(ids, after, "after_id") + 1
    if before := query.get("before_id"):
        end = _index(ids, before, "before_id")
        if not after:
            start = max(0, end - limit)
    found = [of_anthropic(model) for model in models[start:end][:limit]]
    backwards = bool(query.get("before_id")) and not query.get("after_id")
    return {
        "data": found,
        "has_more": start > 0 if backwards else end - start > limit,
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
    }


def _limit(given: str | None) -> int:
    if given is None:
        return _DEFAULT
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:10]) <= _MOST:
        raise malformed(f"`limit` must be between 1 and {_MOST}, got {shown(given)}", param="limit")
    return int(given)


def _index(ids: list[str], wanted: str, name: str) -> int:
    if wanted not in ids:
        raise malformed(f"`{name}` {shown(wanted)} is no model of the list", param=name)
    return ids.index(wanted)
