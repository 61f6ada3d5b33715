"""Which names the server answers to, and which web pages may send it work.

A browser runs pages of strangers inside the operator's network. Two checks keep them out: `Host` against DNS
rebinding (a page whose own name was pointed at this server), `Origin` against pages that send their requests here.
A client that is no browser sends no `Origin` and names the server as it knows it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator

from alpharay.serve.sections import Server

# What no public DNS name can end with: reserved names, and those that only a cluster or a local network resolves.
_PRIVATE = (".localhost", ".local", ".internal", ".svc")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?P<port>\d{1,5}))?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Hosts:
    """The names in a request's `Host` that are ours.

    Always: IP addresses (no name, nothing to rebind: probes, scrapes and port mappings use them), loopback's names,
    the configured address, and `server.allowed_hosts`. Beside them, unless the server listens on loopback only, those
    that no public DNS name looks like: this machine's, names without a dot (a container's, a service's), and private
    domains. Any name where API keys are asked for: a page that was rebound here brings none.
    """

    def __init__(self, config: Server, *, on_loopback: bool) -> None:
        """on_loopback: nothing but this machine reaches the server."""
        self._exact = {"localhost", _plain(config.host)}
        self._endings = [".localhost"]
        self._dotless = not on_loopback
        self._any = "*" in config.allowed_hosts or (
            not config.allowed_hosts and config.api_keys_file is not None
        )
        if not on_loopback:
            self._exact.update(_machine_names())
            self._endings.extend(_PRIVATE)
        for name in config.allowed_hosts:
            if name.startswith("*."):
                self._endings.append(name[1:])
            else:
                self._exact.add(_plain(name))

    def admits(self, values: list[str]) -> bool:
        """values: the request's `Host` headers. None at all is HTTP/1.0's way, which no browser uses."""
        if not values or values == [""]:
            return True
        found = _HOST.fullmatch(values[0])
        if len(values) > 1 or found is None:
            return False
        name = _plain(found["name"])
        return (
            self._any
            or name in self._exact
            or name.endswith(tuple(self._endings))
            or is_address(name)
            or (self._dotless and "." not in name)
        )


class Origins:
    """The web pages that may send work: those of this server, and `server.cors`."""

    def __init__(self, config: Server) -> None:
        self._listed = frozenset(config.cors)

    def admits(self, origin: str, host: str, fetch_site: str) -> bool:
        """fetch_site: `Sec-Fetch-Site`, which a page cannot set: behind a proxy that changes `Host` it alone tells."""
        if self.lists(origin) or fetch_site == "same-origin":
            return True
        scheme, _, authority = origin.lower().partition("://")
        default = _DEFAULT_PORTS.get(scheme)
        return default is not None and authority.removesuffix(f":{default}") == host.lower().removesuffix(
            f":{default}"
        )

    def lists(self, origin: str) -> bool:
        return "*" in self._listed or origin.lower() in self._listed


def on_loopback(host: str) -> bool:
    """Whether an address to listen at is reached from this machine only."""
    name = _plain(host)
    return name == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _plain(name: str) -> str:
    return name.lower().strip("[]").removesuffix(".")


def _machine_names() -> Iterator[str]:
    names: Iterable[str] = (socket.gethostname(), socket.getfqdn())
    yield from (_plain(name) for name in names if name)
