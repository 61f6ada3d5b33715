"""`/v1/usage`: what a key has cost since the server started; an admin's sees all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from alpharay.serve.errors import RequestError
from alpharay.serve.gateway.server import Server

PATH = "/v1/usage"

Json = dict[str, Any]

DESCRIBED: Json = {
    "summary": "Samples, tokens and judge CPU seconds of the key; of all keys, for an admin's",
    "responses": {
        401: {"description": "No API key, or an unknown one"},
        404: {"description": "The server has no keys"},
    },
}


def usage(server: Server, headers: Iterable[tuple[str, str]]) -> Json:
    """Raises RequestError: 401; 404 on a server without keys."""
    key = server.admission.key_of(headers)
    if key is None:
        raise RequestError(404, "usage is counted by API key, and this server has no `server.api_keys_file`")
    counted = server.cluster.counted()
    by_key: dict[str, Json] = {} if key.admin else {key.name: {}}
    for field, name, labels in (
        ("samples", "alpharay_key_samples", {}),
        ("prompt_tokens", "alpharay_key_tokens", {"kind": "prompt"}),
        ("completion_tokens", "alpharay_key_tokens", {"kind": "completion"}),
        ("judge_cpu_s", "alpharay_key_judge_cpu_seconds", {}),
    ):
        for owner, value in _by_key(counted, name, labels):
            if key.admin or owner == key.name:
                by_key.setdefault(owner, {})[field] = (
                    round(value, 3) if field == "judge_cpu_s" else int(value)
                )
    nothing = {"samples": 0, "prompt_tokens": 0, "completion_tokens": 0, "judge_cpu_s": 0.0}
    return {
        "object": "list",
        "data": [{"object": "usage", "key": name, **nothing, **by_key[name]} for name in sorted(by_key)],
    }


def _by_key(counted: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> Iterable[tuple[str, float]]:
    samples = counted[name][2] if name in counted else {}
    for (sample, pairs), value in samples.items():
        if sample == f"{name}_total" and labels.items() <= dict(pairs).items():
            yield dict(pairs)["key"], value
