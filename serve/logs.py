"""What the replicas log: one line a finished request, as text or as JSON, tied together by its id.

Ray Serve gives every request an id (the client's `X-Request-ID`, or one of its own, which the answer's header
of that name carries), passes it on with every call between replicas, and puts it on every line that is logged
meanwhile: the ingress's, the engine replicas' and the judge's.
"""

from __future__ import annotations

import logging
from typing import Any

from alpharay.serve.sections import Server

log = logging.getLogger("ray.serve")


def options(server: Server, *, calls: bool = True) -> dict[str, Any]:
    """Ray Serve's `logging_config`. calls: whether every call of the replica is a line."""
    settings: dict[str, Any] = {"encoding": server.log_format.upper(), "enable_access_log": calls}
    if server.log_folder is not None:
        settings["logs_dir"] = str(server.log_folder)
    return settings


def ended(endpoint: str, outcome: str, seconds: float, answer: str) -> None:
    """One request is over. answer: the id within its answer's own id; empty when it was refused before."""
    log.info(
        "%s ended: %s after %.3f s",
        endpoint,
        outcome,
        seconds,
        extra={"endpoint": endpoint, "outcome": outcome, "seconds": round(seconds, 4), "answer": answer},
    )
