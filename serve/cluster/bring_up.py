"""Puts a revision on the running cluster, and waits until it answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from http import HTTPStatus
from itertools import pairwise
from typing import Any

import httpx

from alpharay.merge.compute.span import shown_weights
from alpharay.serve import logs
from alpharay.serve.cluster.ray_cluster import log_folder
from alpharay.serve.config import Config
from alpharay.serve.errors import StartFailed
from alpharay.serve.state.cluster_state import Overview
from alpharay.serve.state.members import ServedMember
from alpharay.serve.state.revision import Revision

Say = Callable[[str], None]

_START_S = 1800.0
_TELL_EVERY_S = 10.0


def tell_members(members: tuple[ServedMember, ...], say: Say) -> None:
    """One line for each member that is served."""
    for member in members:
        meant, effective = shown_weights(member.weights), shown_weights(member.effective_weights, ".3f")
        if member.alpha is not None and member.effective_alpha is not None:
            meant, effective = f"alpha {member.alpha:g}", f"{member.effective_alpha:.3f}"
        say(f"  {member.name}  {meant}  effective {effective}  {member.sha256[:12]}")


def deploy(revision: Revision, say: Say, *beside: Revision, watch: bool = True) -> None:
    """Puts the frontier on the running cluster and waits until every member can answer.

    beside: revisions whose engines are started beside those that serve. watch: whether an engine that fails to start ends the
    wait: one of `beside` where there is one, since an engine that served before is restarted without us.

    Raises StartFailed.
    """
    from ray import serve as ray_serve

    from alpharay.serve.cluster.deployments import APP, application

    failed: list[BaseException] = []
    served = revision.groups().keys()
    deployments = {name for other in beside for name in other.groups()} - served if beside else set(served)

    def run() -> None:
        try:
            ray_serve.run(
                application(revision, *beside),
                name=APP,
                route_prefix="/",
                logging_config=logs.options(revision.config.server),
            )
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True, name="deploy")
    thread.start()
    started = reported = time.monotonic()
    last = ""
    while True:
        time.sleep(0.5)
        overview = cluster_overview()
        _raise_failure(overview if watch else None, deployments, failed)
        now = time.monotonic()
        state = "waiting for the new engines" if beside else _progress(overview)
        if state != last or now - reported > _TELL_EVERY_S:
            say(state)
            reported, last = now, state
        if not thread.is_alive() and _answers(revision.config):
            return
        if now - started > _START_S:
            raise StartFailed(f"not ready after {_START_S:.0f} s; {state}; Ray's logs are in {log_folder()}")


def _raise_failure(
    overview: Overview | None, deployments: Collection[str], failed: list[BaseException]
) -> None:
    for deployment, (member, detail) in overview.failed.items() if overview else ():
        if deployment in deployments:
            raise StartFailed(f"the engine of {member} did not start: {detail}; its log is in {log_folder()}")
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
    url = url_of(everywhere.get(config.server.host, config.server.host), config.server.port)
    try:
        return httpx.get(f"{url}/ready", timeout=5, trust_env=False).status_code == HTTPStatus.OK
    except httpx.HTTPError:
        return False


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def cluster_overview() -> Overview | None:
    """What the cluster state knows; None while it cannot be asked."""
    try:
        overview: Overview = ask_cluster_state("overview", timeout_s=5)
    except Exception:
        return None
    return overview


def ask_cluster_state(method: str, *arguments: object, timeout_s: float = 60) -> Any:
    """What that method of the cluster state gives. Raises what Ray raises when it does not answer."""
    from ray import serve as ray_serve

    from alpharay.serve.cluster.deployments import APP, CLUSTER_STATE

    call = getattr(ray_serve.get_deployment_handle(CLUSTER_STATE, APP), method)
    return call.remote(*arguments).result(timeout_s=timeout_s)


def _cause(error: BaseException) -> str:
    """The last line of the traceback that a deployment failed with, else the error's own text."""
    from ray import serve as ray_serve

    from alpharay.serve.cluster.deployments import APP

    messages: list[str] = []
    with suppress(Exception):  # it only explains a failure: one of its own must not hide that
        application = ray_serve.status().applications[APP]
        messages = [deployment.message for deployment in application.deployments.values()]
    return last_error("\n".join([*messages, str(error)])) or type(error).__name__


def last_error(text: str) -> str:
    """The last line that names an error, with the next one where its message begins there; else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [
        f"{line} {after}".strip() if line.endswith(":") else line
        for line, after in pairwise([*lines, ""])
        if line.partition(":")[0].endswith(("Error", "Exception"))
    ]
    return (named or lines or [""])[-1]
