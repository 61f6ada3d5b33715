"""ORCA: the load of the server, in the header of an answer to a balancer that asks for it, in vLLM's format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

ASKED_BY = "endpoint-load-metrics-format"
HEADER = "endpoint-load-metrics"


def load_header(wanted: str, load: Callable[[], Mapping[str, float]]) -> str | None:
    """The header's value. wanted: `TEXT` or `JSON`; None for another format."""
    wanted = wanted.strip().upper()
    if wanted == "TEXT":
        return "TEXT " + ", ".join(f"named_metrics.{name}={value}" for name, value in load().items())
    if wanted == "JSON":
        return "JSON " + json.dumps({"named_metrics": dict(load())})
    return None
