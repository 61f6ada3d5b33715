"""The life of `alpharay serve`: checks, Ray, deployment, readiness, drain."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import FrameType

import httpx

from alpharay.serve import keys, logs
from alpharay.serve.checks import check_engine, check_port, check_sandbox
from alpharay.serve.cluster import HeadWatch, check_gpus, cluster, engine_metrics_urls, log_folder
from alpharay.serve.config import Config
from alpharay.serve.errors import StartFailed
from alpharay.serve.frontier import ServedMember
from alpharay.serve.hub import Overview, Phase
from alpharay.serve.prepare import cache_folder, prepare
from alpharay.serve.seats import Seat
from alpharay.serve.store import ready_store

Say = Callable[[str], None]

_START_S = 1800.0
_TELL_EVERY_S = 10.0
_LOOK_S = 2.0


def serve(config: Config, *, address: str | None, say: Say) -> None:
    """Serves until SIGINT or SIGTERM, then drains and stops what it started.

    address: of a Ray cluster to join; None starts one on this machine.

    Raises StartFailed and its kin with one clear line; KeyboardInterrupt when told to stop before it was
    ready.
    """
    with _stop_signal() as stop:
        check_engine()
        check_sandbox(config.judge.sandbox)
        if config.server.api_keys_file is not None:
            say(f"{len(keys.load(config.server.api_keys_file))} API keys")
        port = check_port(config.server.host, config.server.port)
        members, seats = prepare(config, say)
        store = ready_store(config.store, Path.cwd(), cache_folder(), say)
        server = config.server.model_copy(update={"port": port})
        config = config.model_copy(update={"server": server, "store": store})
        _tell_members(members, say)
        # Standard output carries the one line that scripts wait for; Ray's own remarks go beside it.
        ours = sys.stdout
        with redirect_stdout(sys.stderr), cluster(address, config, say):
            check_gpus(config)
            deploy(config, members, seats, say, one_machine=address is None)
            say(f"engine metrics on {', '.join(engine_metrics_urls())}")
            print(f"ready {_url(config.server.host, port)}/v1", file=ours, flush=True)
            stop.serving = True
            head = HeadWatch()
            while not stop.event.wait(_LOOK_S):
                if head.gone():
                    # To ask Ray for anything now would only hang; its own reaper ends what it started here.
                    say(
                        f"error: Ray's head at {head.address} is gone; ending, so that it can be started anew"
                    )
                    os._exit(1)
            _drain(config, say)


def _tell_members(members: tuple[ServedMember, ...], say: Say) -> None:
    for member in members:
        say(
            f"  {member.name}  alpha {member.alpha:g}  effective {member.effective_alpha:.3f}  {member.sha256[:12]}"
        )


@dataclass(slots=True)
class Stop:
    """What SIGINT and SIGTERM do: interrupt while starting; while serving, set the event for a drain."""

    event: threading.Event
    serving: bool = False


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

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def deploy(
    config: Config,
    members: tuple[ServedMember, ...],
    seats: tuple[Seat, ...],
    say: Say,
    *,
    one_machine: bool = False,
) -> None:
    """Puts the frontier on the running cluster and waits until every member can answer. Raises StartFailed."""
    from ray import serve as ray_serve

    from alpharay.serve.deploy import APP, application

    failed: list[BaseException] = []

    def run() -> None:
        try:
            ray_serve.run(
                application(config, members, seats, one_machine=one_machine),
                name=APP,
                route_prefix="/",
                logging_config=logs.options(config.server),
            )
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True, name="deploy")
    thread.start()
    started = told = time.monotonic()
    last = ""
    while True:
        time.sleep(0.5)
        overview = hub_overview()
        _raise_failure(overview, failed)
        now = time.monotonic()
        state = _progress(overview)
        if state != last or now - told > _TELL_EVERY_S:
            say(state)
            told, last = now, state
        if not thread.is_alive() and _answers(config):
            return
        if now - started > _START_S:
            raise StartFailed(f"not ready after {_START_S:.0f} s; {state}; Ray's logs are in {log_folder()}")


def _raise_failure(overview: Overview | None, failed: list[BaseException]) -> None:
    for name, state in overview.members.items() if overview else ():
        if state.phase is Phase.FAILED:
            raise StartFailed(
                f"the engine of {name} did not start: {state.detail}; its log is in {log_folder()}"
            )
    if overview and overview.judge.failed:
        raise StartFailed(f"the judge did not start: {overview.judge.detail}")
    if failed:
        raise StartFailed(f"the deployment failed: {_cause(failed[0])}; logs are in {log_folder()}")


def _progress(overview: Overview | None) -> str:
    if overview is None:
        return "deploying"
    up = [name for name, state in overview.members.items() if state.up]
    judge = f"judge {overview.judge.layer}" if overview.judge.layer else "judge starting"
    return f"{len(up)} of {len(overview.members)} engines loaded, {judge}"


def _answers(config: Config) -> bool:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - named here, not bound
    url = _url(everywhere.get(config.server.host, config.server.host), config.server.port)
    try:
        return httpx.get(f"{url}/ready", timeout=5, trust_env=False).status_code == HTTPStatus.OK
    except httpx.HTTPError:
        return False


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def hub_overview() -> Overview | None:
    """What the hub knows; None while it cannot be asked."""
    from ray import serve as ray_serve

    from alpharay.serve.deploy import APP, HUB

    try:
        overview: Overview = ray_serve.get_deployment_handle(HUB, APP).overview.remote().result(timeout_s=5)
    except Exception:
        return None
    return overview


def _drain(config: Config, say: Say) -> None:
    """Lets nothing more in, and waits for what is under way."""
    from ray import serve as ray_serve

    from alpharay.serve.deploy import APP, HUB

    say(f"draining: requests under way may take up to {config.server.drain_s:g} s more (again: stop at once)")
    hub = ray_serve.get_deployment_handle(HUB, APP)
    until = time.monotonic() + config.server.drain_s + 10
    while time.monotonic() < until:
        try:
            # Said again each time: a hub that was restarted has forgotten it.
            hub.drain.remote(config.server.drain_s).result(timeout_s=5)
        except Exception:
            say("the hub does not answer; waiting for it, or for the drain to end")
        overview = hub_overview()
        if overview is not None and overview.drained:
            break
        time.sleep(0.25)
    say("stopped")


def _cause(error: BaseException) -> str:
    """The last line of the traceback that a deployment failed with, else the error's own text."""
    from ray import serve as ray_serve

    from alpharay.serve.deploy import APP

    told: list[str] = []
    with suppress(Exception):  # it only explains a failure: one of its own must not hide that
        application = ray_serve.status().applications[APP]
        told = [one.message for one in application.deployments.values()]
    lines = [line.strip() for text in [*told, str(error)] for line in text.splitlines() if line.strip()]
    named = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    cause: str = (named or lines or [type(error).__name__])[-1]
    return cause
