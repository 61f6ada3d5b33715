"""`/v1/checkpoints`: moves the server to other checkpoints while it serves, and tells how far that is."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from alpharay.serve.errors import ConfigError, RequestError, malformed, no_capacity
from alpharay.serve.gateway.server import Server
from alpharay.serve.span import AdapterCheckpoint
from alpharay.serve.spelling import shown
from alpharay.serve.state.changes import Change, ChangePhase, Order
from alpharay.serve.state.revision import with_checkpoints

PATH = "/v1/checkpoints"

Json = dict[str, Any]

_LOOK_S = 0.5
_TIMEOUT_S = 5.0
# A cluster state that was restarted knows a change again from its next report.
MISSES = 40
_BEFORE_IT_BEGINS = frozenset({ChangePhase.WAITING, ChangePhase.CHECKING})

_WAIT: Json = {
    "name": "wait",
    "in": "query",
    "description": "Answer when the change is over, instead of when it has begun",
    "schema": {"type": "boolean", "default": False},
}
_CHANGE: Json = {
    "name": "change",
    "in": "query",
    "description": "With an event stream: only this change, to its end",
    "schema": {"type": "string"},
}
_KEYS: dict[int | str, Json] = {
    401: {"description": "No API key, or an unknown one"},
    403: {"description": "The key is no admin key, or the server has no keys"},
    503: {"description": "No capacity now; see Retry-After"},
}
LIST_DESCRIBED: Json = {
    "summary": "The checkpoints that are served, and how far changes of them have come; with an admin key",
    "openapi_extra": {"parameters": [_CHANGE]},
    "responses": {
        200: {
            "description": "As server-sent events with `Accept: text/event-stream`",
            "content": {"application/json": {}, "text/event-stream": {}},
        },
        404: {"description": "No change of that id is known"},
        **_KEYS,
    },
}
DESCRIBED: Json = {
    "summary": "Moves to other checkpoints while requests are answered; with an admin key",
    "status_code": 202,
    "openapi_extra": {
        "parameters": [_WAIT],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "minProperties": 1,
                        "additionalProperties": {
                            "type": "string",
                            "description": "A folder on the server, by the name of the checkpoint that it replaces",
                        },
                    }
                }
            },
        },
    },
    "responses": {
        200: {"description": "With `wait`: new requests are answered with them"},
        202: {"description": "The checkpoints fit, and the change has begun"},
        400: {"description": "Malformed, or checkpoints that cannot be served; nothing has changed"},
        409: {"description": "Another change is under way; or, with `wait`, the change failed"},
        **_KEYS,
    },
}


def read(server: Server, body: Json) -> dict[str, Path]:
    """The folders by checkpoint. Raises RequestError (400)."""
    if not body:
        raise malformed("name at least one checkpoint, as {NAME: FOLDER}")
    folders: dict[str, Path] = {}
    for name, folder in body.items():
        if not isinstance(folder, str) or not Path(folder).is_absolute() or "\0" in folder:
            raise malformed(
                f"{shown(name)} must be the absolute path of a folder on the server, got {shown(folder)}",
                param=name[:100],
            )
        folders[name] = Path(folder)
        try:
            with_checkpoints(server.config, {name: folders[name]})
        except ConfigError as error:
            raise malformed(str(error), param=name[:100]) from None
    return folders


def read_wait(query: Mapping[str, str]) -> bool:
    """Raises RequestError (400)."""
    wait = query.get("wait", "false").lower()
    if wait not in {"true", "1", "false", "0"}:
        raise malformed(f"`wait` must be true or false, got {shown(wait)}", param="wait")
    return wait in {"true", "1"}


async def move(server: Server, folders: Mapping[str, Path], *, wait: bool) -> Json:
    """Begins the change. wait: returns when it is over, else when the checkpoints are known to fit.

    Raises RequestError: 400, they do not fit; 409, another change is under way, or this one failed; 503, the cluster
    state cannot be reached, or has lost the order, or nobody follows orders.
    """
    order = Order(id=uuid.uuid4().hex, checkpoints=folders)
    change: Change | None = await _ask(server, "ask_change", order)
    if change is None:
        raise no_capacity(
            "no process of `alpharay serve` follows orders here; where Ray Serve built the application by itself, "
            "change its configuration and deploy it again"
        )
    if change.id != order.id:
        raise RequestError(
            409,
            f"a change is under way ({change.phase.value}): one at a time; GET {PATH} tells when it is over",
            code="change_under_way",
        )
    misses = 0
    while not change.over and (wait or change.phase in _BEFORE_IT_BEGINS):
        await asyncio.sleep(_LOOK_S)
        latest: dict[str, Change] = {}
        with suppress(RequestError):  # it may be restarting, and the change goes on
            latest = {known.id: known for known in await latest_changes(server)}
        misses = 0 if order.id in latest else misses + 1
        change = latest.get(order.id, change)
        if misses > MISSES:
            raise no_capacity(
                f"the order was lost with the cluster state, or that cannot be reached; GET {PATH} tells what is served"
            )
    if change.phase is ChangePhase.REFUSED:
        raise RequestError(400, change.error, code="checkpoints_refused")
    if change.phase is ChangePhase.FAILED:
        raise RequestError(409, change.error, code="change_failed")
    return change_object(change)


async def listed(server: Server) -> Json:
    """What is served, and the latest changes, the oldest first. Raises RequestError (503)."""
    changes = await latest_changes(server)
    return {
        "object": "checkpoints",
        "revision": server.revision,
        "checkpoints": {name: _folder(value) for name, value in server.config.named_checkpoints.items()},
        "members": {member.name: member.sha256 for member in server.members},
        "changes": [change_object(change) for change in changes],
    }


async def latest_changes(server: Server) -> tuple[Change, ...]:
    """The oldest first. Raises RequestError (503)."""
    changes: tuple[Change, ...] = await _ask(server, "changes")
    return changes


async def _ask(server: Server, method: str, *arguments: object) -> Any:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await getattr(server.cluster_state, method).remote(*arguments)
    except Exception as error:
        raise no_capacity(f"the cluster state cannot be reached ({type(error).__name__})") from error


def _folder(value: Path | AdapterCheckpoint) -> str:
    return str(value.adapter if isinstance(value, AdapterCheckpoint) else value)


def change_object(change: Change) -> Json:
    """A change as clients see it."""
    return {
        "object": "checkpoints.change",
        "id": change.id,
        "state": change.phase.value,
        "checkpoints": {name: str(folder) for name, folder in change.checkpoints.items()},
        "progress": {"moved": change.moved, "hosts": change.hosts},
        "message": change.message,
        "error": change.error or None,
    }
