"""Engines and replicas that die under a request."""

from __future__ import annotations

import signal
import threading

import httpx
import pytest

pytestmark = pytest.mark.engine


def in_background(work) -> tuple[threading.Thread, list]:
    results: list = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def test_an_engine_killed_under_a_request_is_replaced_and_the_answer_comes(server, sampling, wait_until):
    restarts = server.metric("alpharay_replica_restarts_total")
    # Long enough to be met half-way: each sample goes on to its last token.
    body = sampling(controls={"budget": 64, "stop_after_passes": 64}, max_tokens=400, ignore_eos=True)
    thread, results = in_background(lambda: server.post(body))
    wait_until(lambda: server.metric("alpharay_engine_requests") > 0, "samples in the engines")
    server.processes("EngineCore")[0].send_signal(signal.SIGKILL)
    thread.join()
    metadata = results[0].json()["alpharay"]
    assert results[0].status_code == 200
    assert metadata["drawn"] == sum(member["drawn"] for member in metadata["members"].values()) == 64
    wait_until(
        lambda: server.metric("alpharay_replica_restarts_total") == restarts + 1, "its restart counted"
    )
    wait_until(server.ready, "the member back")
    assert server.metric("alpharay_samples_total", outcome="lost") > 0
    assert (
        server.post(sampling(controls={"budget": 10, "stop_after_passes": 10})).json()["alpharay"]["drawn"]
        == 10
    )


def test_a_judge_that_is_away_is_said_so_and_comes_back(server, sampling, wait_until):
    for process in server.processes("ServeReplica:alpharay:judge"):
        process.send_signal(signal.SIGKILL)
    seen = set()

    def back() -> bool:
        answer = server.post(sampling(controls={"budget": 1}))
        assert answer.status_code == 200
        metadata, note = answer.json()["alpharay"], answer.json()["choices"][0]["alpharay"]
        assert (note["verdict"] is None) == (metadata["judge"] == "unavailable")
        seen.add(metadata["judge"])
        return metadata["judge"] == "ok"

    wait_until(
        lambda: back() and server.metric("alpharay_judge_duration_seconds_count") > 0, "verdicts again"
    )
    assert seen <= {"ok", "unavailable"}


def test_an_ingress_that_died_listens_again_while_its_clients_are_still_connected(
    server, sampling, wait_until
):
    body = sampling(model="frontier@1", tests=False, stream=True, max_tokens=400, ignore_eos=True)
    with (
        httpx.Client(timeout=60) as client,
        client.stream("POST", f"{server.url}/chat/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        for process in server.processes("ServeReplica:alpharay:ingress"):
            process.send_signal(signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
        wait_until(lambda: _ready(server), "the ingress back")
    assert server.post(sampling(controls={"budget": 5})).status_code == 200
    wait_until(lambda: server.metric("alpharay_engine_requests") == 0, "the lost request's place free")


def _ready(server) -> bool:
    try:
        return server.ready()
    except httpx.HTTPError:
        return False
