"""Where replicas listen on a cluster of our own: the ingress itself, at the configured address (Ray Serve's direct
ingress), and what else Ray opens on loopback.
"""

from __future__ import annotations

import os
from typing import Any

from alpharay.serve import sections
from alpharay.serve.environment import LOOPBACK, ONE_MACHINE
from alpharay.serve.loopback import keep_local


def arrive(server: sections.Server) -> str:
    """Called in the ingress's process, before Ray has it listen. Returns where the other nodes reach this one.

    On a cluster of our own that is loopback: nothing that passes between its parts leaves the machine.
    """
    if not os.environ.get(ONE_MACHINE):
        return node_address()
    keep_local()
    _listen_at(server)
    return LOOPBACK


def node_address() -> str:
    """Where the other nodes of the cluster reach this one."""
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())


def _listen_at(server: sections.Server) -> None:
    """Ray gives each such replica another port of a range, at the address of its proxy, to be found by a balancer.

    Ours share one port, over which the kernel spreads connections: also with connections of a replica that died,
    which else keep a new one from it for a minute. (Tried with Ray 2.60.)
    """
    from ray.serve._private import replica

    from alpharay.serve.gateway.http.http_head import BoundedHead

    start = replica.start_asgi_http_server

    async def start_here(app: Any, options: Any, **rest: Any) -> Any:
        at = {"host": server.host, "port": server.port}
        task, listener = await start(
            app, options.model_copy(update=at), **{**rest, "enable_so_reuseport": True}
        )
        # Before the task begins, which reads them. Without WebSockets their handshake is a request like others.
        listener.config.http, listener.config.ws = BoundedHead, "none"
        return task, listener

    replica.start_asgi_http_server = start_here
