"""The engines and the judge that `serve` would use, for work that comes from a file instead of HTTP."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from alpharay.serve.cluster.bring_up import deploy
from alpharay.serve.cluster.checks import check_port
from alpharay.serve.cluster.prepare import prepare
from alpharay.serve.cluster.ray_cluster import check_gpus, cluster
from alpharay.serve.config import Config, Router
from alpharay.serve.environment import LOOPBACK
from alpharay.serve.state.members import ServedMember
from alpharay.serve.state.revision import Revision
from alpharay.serve.transport.clients import RayEngines, RayJudging, calls_at_once
from alpharay.serve.transport.link import Listener


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """What is up: the members in their order, their engines, and the judge."""

    members: tuple[ServedMember, ...]
    hosts: Mapping[str, Any]
    judge: Any
    node: str
    at_once: int | None
    judge_at_once: int | None

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[tuple[RayEngines, RayJudging]]:
        """Of the engines and of the judge, in the running loop."""
        listener = Listener()
        await listener.listen(self.node)
        try:
            yield (
                RayEngines(self.hosts, lambda _: False, listener, self.at_once),
                RayJudging(self.judge, lambda: False, listener, self.judge_at_once),
            )
        finally:
            await listener.close()


@contextmanager
def hosted(config: Config, address: str | None, say: Callable[[str], None]) -> Iterator[Hosting]:
    """The configuration's frontier on Ray, stopped at the end.

    address: of a Ray cluster to join; None starts one on this machine. A call to a member whose replica is being
    replaced waits until it is back.

    Raises StartFailed and its kin.
    """
    # Nobody is told where it listens, and one process does: readiness is asked for there. What is measured teaches no
    # router, and asks none: a schedule may name members that are not measured.
    port = check_port("127.0.0.1", 0)
    here = {"host": "127.0.0.1", "port": port, "replicas": 1, "api_keys_file": None}
    server = config.server.model_copy(update=here)
    config = config.model_copy(update={"server": server, "store": None, "router": Router()})
    members, specs = prepare(config, say)
    revision = Revision(config=config, members=members, specs=specs)
    with redirect_stdout(sys.stderr), cluster(address, config, say):
        from alpharay.serve.cluster.deployments import handles
        from alpharay.serve.cluster.listening import node_address

        check_gpus(config)
        deploy(revision, say)
        hosts, judge = handles(revision)
        engine = config.engine
        yield Hosting(
            members=members,
            hosts=hosts,
            judge=judge,
            node=LOOPBACK if address is None else node_address(),
            judge_at_once=calls_at_once(config.judge.replicas),
            at_once=calls_at_once(engine.replicas, autoscaled=engine.autoscale is not None),
        )
