"""`/v1/models`: the ensemble and its members, in OpenAI's form and in the one that Anthropic's clients read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from alpharay.serve.errors import malformed
from alpharay.serve.gateway.server import Server
from alpharay.serve.spelling import shown
from alpharay.serve.state.members import find_member, unknown_model

Json = dict[str, Any]

ASKED_BY = "anthropic-version"
_MOST = 1000
_DEFAULT = 20


def models(server: Server) -> list[Json]:
    """The ensemble first, then its members, as `/v1/models` lists them."""
    alphas = [member.alpha for member in server.members]
    ensemble = {"kind": "ensemble", "alphas": alphas, "members": [member.name for member in server.members]}
    return [
        _model(server, server.config.name, ensemble),
        *(_model(server, m.name, m.note) for m in server.members),
    ]


def model(server: Server, name: str) -> Json:
    """Raises RequestError (404)."""
    wanted = find_member(server.members, name)
    for model in models(server):
        if model["id"] == (wanted.name if wanted else name):
            return model
    raise unknown_model(name, server.config.name, server.members)


def _model(server: Server, name: str, note: Json) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": server.started,
        "owned_by": "alpharay",
        "root": name,
        "parent": None,
        "max_model_len": server.config.engine.max_model_len,
        "alpharay": note,
    }


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
    listed = [of_anthropic(model) for model in models[start:end][:limit]]
    backwards = bool(query.get("before_id")) and not query.get("after_id")
    return {
        "data": listed,
        "has_more": start > 0 if backwards else end - start > limit,
        "first_id": listed[0]["id"] if listed else None,
        "last_id": listed[-1]["id"] if listed else None,
    }


def _limit(limit: str | None) -> int:
    if limit is None:
        return _DEFAULT
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:10]) <= _MOST:
        raise malformed(f"`limit` must be between 1 and {_MOST}, got {shown(limit)}", param="limit")
    return int(limit)


def _index(ids: list[str], wanted: str, name: str) -> int:
    if wanted not in ids:
        raise malformed(f"`{name}` {shown(wanted)} is no model of the list", param=name)
    return ids.index(wanted)
