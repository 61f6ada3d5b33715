"""The life of `alpharay serve`: checks, Ray, deployment, readiness, drain."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from types import FrameType

from alpharay.serve.cluster.bring_up import (
    Say,
    ask_cluster_state,
    cluster_overview,
    deploy,
    tell_members,
    url_of,
)
from alpharay.serve.cluster.checks import check_engine, check_port, check_sandbox
from alpharay.serve.cluster.prepare import prepare, with_store
from alpharay.serve.cluster.ray_cluster import HeadWatch, check_gpus, cluster, engine_metrics_urls
from alpharay.serve.cluster.rollout import Rolling
from alpharay.serve.config import Config
from alpharay.serve.state import keys
from alpharay.serve.state.revision import Revision

_LOOK_S = 2.0


def serve(reread: Callable[[], Config], *, address: str | None, say: Say) -> None:
    """Serves until SIGINT or SIGTERM, then drains and stops what it started; SIGHUP has it reread its configuration,
    and `POST /v1/checkpoints` has it move to other checkpoints.

    reread: the configuration as it is now. address: of a Ray cluster to join; None starts one on this machine.

    Raises StartFailed and its kin with one clear line; KeyboardInterrupt when told to stop before it was
    ready.
    """
    configured = config = reread()
    with _stop_signal() as stop:
        check_engine()
        check_sandbox(config.judge.sandbox, config.judge.packages)
        if config.server.api_keys_file is not None:
            say(f"{len(keys.load(config.server.api_keys_file))} API keys")
        port = check_port(config.server.host, config.server.port)
        members, specs = prepare(config, say)
        config = with_store(config, say)
        config = config.model_copy(update={"server": config.server.model_copy(update={"port": port})})
        tell_members(members, say)
        # Standard output carries the one line that scripts wait for; Ray's own remarks go beside it.
        ours = sys.stdout
        with redirect_stdout(sys.stderr), cluster(address, config, say):
            check_gpus(config)
            revision = Revision(config=config, members=members, specs=specs)
            deploy(revision, say)
            say(f"engine metrics on {', '.join(engine_metrics_urls())}")
            print(f"ready {url_of(config.server.host, port)}/v1", file=ours, flush=True)
            stop.serving = True
            head = HeadWatch()
            rolling = Rolling(revision, configured, reread, say)
            if config.server.api_keys_file is not None:  # without keys nobody may change checkpoints
                rolling.listen()
            while not stop.event.wait(_LOOK_S):
                if rolling.busy:
                    pass
                elif stop.reread:
                    stop.reread = False
                    rolling.start()
                elif (order := rolling.ordered()) is not None:
                    rolling.start(order)
                if head.gone():
                    # To ask Ray for anything now would only hang; its own reaper ends what it started here.
                    say(f"error: Ray's head at {head.address} is gone; ending, so that it can be restarted")
                    os._exit(1)
            rolling.over = True
            _drain(config, say)


@dataclass(slots=True)
class Stop:
    """What SIGINT and SIGTERM do: interrupt while starting; while serving, set the event for a drain.

    reread: SIGHUP came; it is looked at once the server is ready.
    """

    event: threading.Event
    serving: bool = False
    reread: bool = False


@contextmanager
def _stop_signal() -> Iterator[Stop]:
    """Takes SIGINT and SIGTERM over; a second one while draining ends the process at once."""
    stop = Stop(threading.Event())

    def handle(number: int, _: FrameType | None) -> None:
        if not stop.serving:
            raise KeyboardInterrupt
        if stop.event.is_set():
            os._exit(128 + number)
        stop.event.set()

    def hung_up(number: int, _: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
        stop.reread = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, hung_up)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _drain(config: Config, say: Say) -> None:
    """Stops admitting requests and waits for those under way."""
    say(f"draining: requests under way may take up to {config.server.drain_s:g} s more (again: stop at once)")
    until = time.monotonic() + config.server.drain_s + 10
    while time.monotonic() < until:
        try:
            # Said again each time: a cluster state that was restarted has forgotten it.
            ask_cluster_state("drain", config.server.drain_s, timeout_s=5)
        except Exception:
            say("the cluster state does not answer; waiting for it, or for the drain to end")
        overview = cluster_overview()
        if overview is not None and overview.drained:
            break
        time.sleep(0.25)
    say("stopped")
