"""What the processes of a server on one machine listen on."""

from __future__ import annotations

import socket
from contextlib import suppress

import psutil
import pytest

pytestmark = pytest.mark.engine

LOOPBACK = ("127.", "::1", "::ffff:127.")  # the last is how a socket for both families shows IPv4


def own_addresses() -> list[str]:
    """The addresses by which other machines reach this one."""
    interface_addresses = [address for addresses in psutil.net_if_addrs().values() for address in addresses]
    return [
        address.address.partition("%")[0]
        for address in interface_addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
        and not address.address.startswith(("127.", "::1", "fe80:"))
    ]


def listening(processes: list[psutil.Process]) -> dict[int, tuple[str, str]]:
    """Each TCP port that one of the processes listens on: the address, and the process."""
    ports = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # workers come and go
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    ports[connection.laddr.port] = (connection.laddr.ip, process.cmdline()[0])
    return ports


def test_no_port_of_any_process_is_reachable_from_another_machine(server):
    ports = listening([psutil.Process(server.process.pid), *server.processes("")])
    names = " ".join(name for _, name in ports.values())
    # Every kind of process is among them: the GCS, raylet, agents, replicas and engines.
    assert all(
        part in names for part in ("gcs_server", "raylet", "Agent", "ingress", "cluster-state", "judge")
    )
    elsewhere = {port: where for port, where in ports.items() if not where[0].startswith(LOOPBACK)}
    assert not elsewhere
    for address in own_addresses():
        for port in ports:
            with pytest.raises((ConnectionRefusedError, TimeoutError)):
                socket.create_connection((address, port), timeout=5)
