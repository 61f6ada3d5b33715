"""Binds the ports that Ray opens for each replica to loopback: on a cluster started here nothing else may reach them."""

from __future__ import annotations

import os
from typing import Any

from alpharay.serve.environment import LOOPBACK, ONE_MACHINE


def keep_local() -> None:
    """Called in each replica's process before Ray has it listen: on a cluster started here, on loopback alone.

    Ray Serve gives every replica a gRPC server for calls from other replicas, which alpharay does not use. It listens on all
    addresses, takes pickles, and asks for no token. (Tried with Ray 2.60.)
    """
    if not os.environ.get(ONE_MACHINE):
        return
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server

    def add_local_port(server: Any, address: str) -> Any:
        return add_port(server, f"{LOOPBACK}:{address.rpartition(':')[2]}")

    replica.add_port_to_grpc_server = add_local_port
