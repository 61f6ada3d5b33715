"""Starts Ray on this machine alone, also where CPU is short."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from alpharay.serve.environment import LOOPBACK, START_WAIT_S

# Ray's agents, each by the parameter of Ray's that sets its port.
_AGENT_PORTS = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def start_ray(metrics_port: int, options: dict[str, Any], say: Callable[[str], None]) -> None:
    """Starts Ray here; a second time where the first attempt fails, as a port may be taken in between.

    metrics_port: of Ray's own metrics and vLLM's; 0 takes a free one. Raises what Ray raises.
    """
    import ray

    def start() -> None:
        with _fixed_agent_ports() as export_port:
            ray.init(
                address="local",
                include_dashboard=False,
                _node_ip_address=LOOPBACK,
                _metrics_export_port=metrics_port or export_port,
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
def _fixed_agent_ports() -> Iterator[int]:
    """Within the block Ray's agents get ports that are chosen here; yields a free one for the metrics export.

    Where an agent chooses its port itself, the raylet waits 15 s for it and aborts, which no setting changes
    (ray-project/ray#65983). A port that is given is not waited for. (Tried with Ray 2.60.)
    """
    from ray._private import parameter

    original = parameter.RayParams
    ports = free_ports(len(_AGENT_PORTS) + 1)
    parameter.RayParams = partial(original, **dict(zip(_AGENT_PORTS, ports[1:], strict=True)))
    try:
        yield ports[0]
    finally:
        parameter.RayParams = original


def free_ports(count: int) -> list[int]:
    """So many different ports on loopback that nobody listens on."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in held:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in held]


def why_ray_failed(error: Exception) -> str:
    """The cause in one line, with the way out: Ray tells neither how busy the machine is nor where its logs are."""
    cause = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    logs = "Ray's logs are in /tmp/ray/session_latest/logs"
    if load <= 2 * cores:
        return f"{cause}; {logs}"
    return (
        f"{cause}; the machine is short of CPU (load {load:.0f} on {cores} cores): stop what else runs on it, or wait "
        f"longer with RAY_raylet_start_wait_time_s=600 ({START_WAIT_S} s by default); {logs}"
    )
