"""The life of `alpharay serve`: checks, Ray, deployment, readiness, drain."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from alpharay.serve.config import Config
from alpharay.serve.errors import EngineMissing, PortInUse, StartFailed
from alpharay.serve.frontier import ServedMember
from alpharay.serve.hub import Overview, Phase
from alpharay.serve.prepare import prepare

Say = Callable[[str], None]

_START_S = 1800.0
_TELL_EVERY_S = 10.0


class Interrupted(Exception):
    """SIGINT or SIGTERM came before serving was ready."""


def serve(config: Config, *, address: str | None, say: Say) -> None:
    """Serves until SIGINT or SIGTERM, then drains and stops what it started.

    address: of a Ray cluster to join; None starts one on this machine.

    Raises StartFailed and its kin with one clear line; Interrupted when told to stop before it was ready.
    """
    with _stop_signal() as stop:
        started = time.monotonic()
        check_engine()
        check_sandbox(config.judge.sandbox)
        port = check_port(config.server.host, config.server.port)
        config = config.model_copy(update={"server": config.server.model_copy(update={"port": port})})
        members = prepare(config, say)
        _tell_members(members, say)
        with _ray(address, config, say):
            _deploy(config, members, stop, say)
            say(f"up after {time.monotonic() - started:.0f} s")
            print(f"ready http://{config.server.host}:{port}/v1", flush=True)
            stop.wait()
            _drain(config, say)


def check_engine() -> None:
    """Raises EngineMissing: vLLM or Ray is not installed."""
    missing = [name for name in ("vllm", "ray") if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineMissing(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; "
            "install `alpharay[cpu]` or, on a machine with NVIDIA GPUs, `alpharay[gpu]`"
        )


def check_sandbox(wanted: str) -> None:
    """Raises SandboxUnavailable: nothing here can run a candidate safely."""
    from alpharay.judge.sandbox.choice import start_safest

    async def try_one() -> None:
        (await start_safest(wanted)).close()

    asyncio.run(try_one())


def check_port(host: str, port: int) -> int:
    """The port, or a free one for port 0. Raises PortInUse; StartFailed for a host that is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe_socket:
        probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe_socket.bind((host, port))
        except PermissionError as error:
            raise StartFailed(f"port {port} needs privileges; choose one above 1023 with --port") from error
        except OSError as error:
            if error.errno == 98:
                raise PortInUse(
                    f"port {port} on {host} is taken by another process; choose another with --port"
                ) from error
            raise StartFailed(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        return int(probe_socket.getsockname()[1])


def _tell_members(members: tuple[ServedMember, ...], say: Say) -> None:
    for member in members:
        say(
            f"  {member.name}  alpha {member.alpha:g}  effective {member.effective_alpha:.3f}  {member.sha256[:12]}"
        )


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second ends the process at once."""
    stop = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ray(address: str | None, config: Config, say: Say) -> Iterator[None]:
    """A Ray cluster with Serve's HTTP proxy: joined, or started here and stopped at the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray import serve as ray_serve

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
            ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **options)
    except Exception as error:
        raise StartFailed(f"Ray could not be {'joined' if address else 'started'}: {error}") from error
    for number, handler in handlers.items():
        signal.signal(number, handler)  # Ray puts its own in their place
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    http = ray_serve.config.HTTPOptions(host=config.server.host, port=config.server.port)
    try:
        ray_serve.start(proxy_location="HeadOnly", http_options=http)
        yield
    finally:
        if not address:
            ray_serve.shutdown()
        ray.shutdown()


def _deploy(config: Config, members: tuple[ServedMember, ...], stop: threading.Event, say: Say) -> None:
    from ray import serve as ray_serve

    from alpharay.serve.deploy import APP, application

    failed: list[BaseException] = []

    def run() -> None:
        try:
            ray_serve.run(application(config, members), name=APP, route_prefix="/")
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True, name="deploy")
    thread.start()
    started, told, last = time.monotonic(), time.monotonic(), ""
    while True:
        if stop.wait(0.5):
            raise Interrupted
        overview = hub_overview()
        _raise_failure(overview, failed)
        now = time.monotonic()
        state = _progress(overview)
        if state != last or now - told > _TELL_EVERY_S:
            say(f"{state} ({now - started:.0f} s)")
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
        raise StartFailed(f"the deployment failed: {_first_line(failed[0])}; logs are in {log_folder()}")


def _progress(overview: Overview | None) -> str:
    if overview is None:
        return "deploying"
    up = [name for name, state in overview.members.items() if state.up]
    judge = f"judge {overview.judge.layer}" if overview.judge.layer else "judge starting"
    return f"{len(up)} of {len(overview.members)} engines loaded, {judge}"


def _answers(config: Config) -> bool:
    host = config.server.host
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - named here, not bound
    reach = everywhere.get(host, f"[{host}]" if ":" in host else host)
    try:
        return (
            httpx.get(f"http://{reach}:{config.server.port}/ready", timeout=5, trust_env=False).status_code
            == 200
        )
    except httpx.HTTPError:
        return False


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
    hub.drain.remote(config.server.drain_s).result(timeout_s=10)
    until = time.monotonic() + config.server.drain_s + 10
    pause = threading.Event()
    while time.monotonic() < until:
        overview = hub_overview()
        if overview is not None and overview.drained:
            break
        pause.wait(0.25)
    say("stopped")


def log_folder() -> Path:
    import ray

    node = ray._private.worker._global_node  # noqa: SLF001 - Ray has no public name for it
    return Path(node.get_session_dir_path()) / "logs"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
