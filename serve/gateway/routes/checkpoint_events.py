"""`GET /v1/checkpoints` as server-sent events: every state of a change of checkpoints, as it is reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from alpharay.serve.dialects.openai import COMMENT, event
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway.routes.checkpoints import MISSES, change_object, latest_changes
from alpharay.serve.gateway.server import Server
from alpharay.serve.state.changes import Change

TYPE = "text/event-stream"
_LOOK_S = 0.5
# A stream of all changes ends after so long, or when the server does, which would wait for it: event sources connect again.
_LONGEST_S = 600.0


async def open_stream(server: Server, name: str | None) -> AsyncIterator[bytes]:
    """The events of the change with that id, to its end; None: of all changes, the latest ones first, for ten minutes.

    Raises RequestError: 404 for a change that is not known, 503 while the cluster state cannot be reached.
    """
    changes = await latest_changes(server)
    if name is not None and all(change.id != name for change in changes):
        raise RequestError(404, "there is no change of that id; only the latest are kept", param="change")
    return _events(server, name, changes)


async def _events(server: Server, name: str | None, changes: Sequence[Change]) -> AsyncIterator[bytes]:
    sent: dict[str, Change] = {}
    loop = asyncio.get_running_loop()
    began = alive_at = loop.time()
    misses = 0
    while server.cluster.overview.drain_s is None:
        for change in changes:
            if name in (None, change.id) and sent.get(change.id) != change:
                sent[change.id] = change
                alive_at = loop.time()
                yield event(change_object(change))
        if name is None and loop.time() - began > _LONGEST_S:
            return
        if name is not None:
            # Lost with the cluster state, if nobody reports it again.
            misses = 0 if any(change.id == name for change in changes) else misses + 1
            if sent[name].over or misses > MISSES:
                return
        await asyncio.sleep(_LOOK_S)
        if loop.time() - alive_at >= server.config.server.keep_alive_s:
            alive_at = loop.time()
            yield COMMENT
        try:
            changes = await latest_changes(server)
        except RequestError:  # it may be restarting, and the change goes on
            continue
