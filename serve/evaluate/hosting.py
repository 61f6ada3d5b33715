"""The engines and the judge that `serve` would use, for work that comes from a file instead of HTTP."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass

from alpharay.serve.cluster.bring_up import deploy
from alpharay.serve.cluster.checks import check_port
from alpharay.serve.cluster.prepare import prepare
from alpharay.serve.cluster.ray_cluster import check_gpus, cluster
from alpharay.serve.config import Config, Router
from alpharay.serve.state.members import ServedMember
from alpharay.serve.state.revision import Revision
from alpharay.serve.transport.clients import RayEngines, RayJudging
from alpharay.serve.transport.stream_transport import StreamListener


@dataclass(frozen=True, slots=True)
class Hosting:
    """What is up: the members in their order, their engines, and the judge."""

    members: tuple[ServedMember, ...]
    engines: RayEngines
    judging: RayJudging


@contextmanager
def hosted(config: Config, address: str | None, say: Callable[[str], None]) -> Iterator[Hosting]:
    """The configuration's frontier on Ray, stopped at the end.

    address: of a Ray cluster to join; None starts one on this machine. A call to a member whose replica is being
    replaced waits until it is back.

    Raises StartFailed and its kin.
    """
    # Nobody is told where it listens: readiness is asked for there. What is measured teaches no router, and asks none:
    # a schedule may name members that are not measured.
    port = check_port("127.0.0.1", 0)
    server = config.server.model_copy(update={"host": "127.0.0.1", "port": port, "api_keys_file": None})
    config = config.model_copy(update={"server": server, "store": None, "router": Router()})
    members, specs = prepare(config, say)
    revision = Revision(config=config, members=members, specs=specs)
    with redirect_stdout(sys.stderr), cluster(address, config, say):
        from alpharay.serve.cluster.deployments import handles

        check_gpus(config)
        deploy(revision, say)
        hosts, judge = handles(revision)
        yield Hosting(
            members, RayEngines(hosts, lambda _: False, StreamListener()), RayJudging(judge, lambda: False)
        )
