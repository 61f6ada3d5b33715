"""Starts Ray on this machine alone, also where CPU is short."""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from alpharay.serve.environment import LOOPBACK, START_WAIT_S

# What Ray's agents listen on, by the names of Ray's parameters.
_AGENT_PORTS = (
    "metrics_agent_port",
    "metrics_export_port",
    "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)


def start_ray(metrics_port: int, options: dict[str, Any], say: Callable[[str], None]) -> None:
    """Starts Ray here; a second time where the first attempt fails, as a port may be taken in between.

    metrics_port: of Ray's own metrics and vLLM's; 0 takes a free one. Raises what Ray raises.
    """
    import ray

    def start() -> None:
        with _agents_are_not_waited_for():
            ray.init(
                address="local",
                include_dashboard=False,
                _node_ip_address=LOOPBACK,
                _metrics_export_port=metrics_port or None,
                **options,
            )

    _wait_longer_for_serve()
    try:
        start()
    except Exception as error:
        say(f"Ray did not start, trying once more: {why_ray_failed(error)}")
        ray.shutdown()
        start()


def _wait_longer_for_serve() -> None:
    """Ray Serve waits 60 s for its HTTP proxy, which no setting changes either."""
    from ray.serve._private import api

    api.HTTP_PROXY_TIMEOUT = START_WAIT_S


@contextmanager
def _agents_are_not_waited_for() -> Iterator[None]:
    """Within the block the raylet gets its agents' ports as arguments instead of waiting for them.

    It would wait 15 s for each port that an agent chooses itself, and abort, which no setting changes
    (ray-project/ray#65983). What connects to an agent later does so with retries. (Tried with Ray 2.60.)
    """
    from ray._private import services
    from ray._raylet import (  # type: ignore[attr-defined]  # compiled, without stubs for these
        DASHBOARD_AGENT_LISTEN_PORT_NAME,
        persist_port,
    )

    original = services.start_raylet

    def start_raylet(*arguments: Any, **options: Any) -> Any:
        ports = dict(zip(_AGENT_PORTS, free_ports(len(_AGENT_PORTS)), strict=True))
        # The user's, where there is one. Ray's own default for the others is one for all servers of a machine.
        ports["metrics_export_port"] = options.get("metrics_export_port") or ports["metrics_export_port"]
        known = inspect.signature(original).bind(*arguments, **options).arguments
        # The raylet reads this port only from its file, which the agent writes again.
        persist_port(
            known["session_dir"],
            known["node_id"],
            DASHBOARD_AGENT_LISTEN_PORT_NAME,
            ports["dashboard_agent_listen_port"],
        )
        return original(*arguments, **(options | ports))

    services.start_raylet = start_raylet
    try:
        yield
    finally:
        services.start_raylet = original


def free_ports(count: int) -> list[int]:
    """That many distinct free ports on loopback."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in held:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in held]


def why_ray_failed(error: Exception) -> str:
    """The cause in one line, with the way out: Ray reports neither the machine's load nor the path of its logs."""
    cause = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    logs = "Ray's logs are in /tmp/ray/session_latest/logs"
    if load <= 2 * cores:
        return f"{cause}; {logs}"
    return (
        f"{cause}; the machine is short of CPU (load {load:.0f} on {cores} cores): stop what else runs on it, or wait "
        f"longer with RAY_raylet_start_wait_time_s=600 ({START_WAIT_S} s by default); {logs}"
    )
