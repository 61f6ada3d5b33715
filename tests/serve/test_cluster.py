"""What is known of the cluster from outside of it."""

import os
import socket
from types import SimpleNamespace

import pytest

from alpharay.serve import config as configuration
from alpharay.serve.cluster import bring_up, deployments
from alpharay.serve.cluster.local_ray import free_ports, why_ray_failed
from alpharay.serve.cluster.ray_cluster import HeadWatch, check_resources, fit_gpus
from alpharay.serve.environment import cpu_environment, one_machine
from alpharay.serve.errors import StartFailed
from alpharay.serve.state.cluster_state import Overview


def test_a_head_is_gone_when_it_was_missed_three_times_in_a_row():
    with socket.create_server(("127.0.0.1", 0)) as head:
        watch = HeadWatch(f"127.0.0.1:{head.getsockname()[1]}")
        assert not any(watch.gone() for _ in range(5))
    assert [watch.gone() for _ in range(3)] == [False, False, True]


def test_a_head_that_comes_back_in_time_was_never_gone():
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
    watch = HeadWatch(f"127.0.0.1:{port}")
    assert not watch.gone()
    with socket.create_server(("127.0.0.1", port)):
        assert not watch.gone()
    assert [watch.gone() for _ in range(3)] == [False, False, True]


def test_a_resource_that_no_node_has_is_told_at_once(tmp_path):
    path = tmp_path / "frontier.yaml"
    path.write_text("endpoints: {low: a, high: b}\nmembers: [0, 1, 2]\nengine: {resources: {l40s: 0.5}}\n")
    config = configuration.load(path)
    check_resources(config, {"CPU": 8, "l40s": 2, "node:10.0.0.1": 1})
    with pytest.raises(StartFailed, match=r"need 1.5, Ray has 1; start nodes that have it"):
        check_resources(config, {"CPU": 8, "l40s": 1, "node:10.0.0.1": 1})
    with pytest.raises(StartFailed, match="Ray has 0"):
        check_resources(config, {"CPU": 8, "node:10.0.0.1": 1})


def test_a_replica_whose_gpus_no_single_node_has_is_told_at_once(tmp_path):
    path = tmp_path / "frontier.yaml"
    path.write_text("endpoints: {low: a, high: b}\nmembers: [0]\nengine: {tensor_parallel_size: 4}\n")
    config = configuration.load(path)
    fit_gpus(config, [0, 4])
    with pytest.raises(StartFailed, match=r"4 GPUs of one node each .* with 2, 2 GPUs, have room for 0"):
        fit_gpus(config, [2, 2])
    with pytest.raises(StartFailed, match=r"need 4 GPUs, Ray has 2"):
        fit_gpus(config, [2])


def test_more_judges_than_nodes_are_told_at_once(tmp_path):
    path = tmp_path / "frontier.yaml"
    path.write_text("endpoints: {low: a, high: b}\nmembers: [0]\njudge: {replicas: 2}\n")
    config = configuration.load(path)
    head = {"node:__internal_head__": 1, "node:10.0.0.1": 1}
    check_resources(config, {**head, "node:10.0.0.2": 1})
    with pytest.raises(StartFailed, match=r"judge.replicas: 2 judges need as many nodes, Ray has 1"):
        check_resources(config, head)


def test_ports_given_to_ray_are_free_and_differ():
    ports = free_ports(4)
    assert len(set(ports)) == 4
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (20.0, ["load 20 on", "RAY_raylet_start_wait_time_s=600"]),
        (0.5, ["timed out during startup; Ray's logs"]),
    ],
)
def test_a_ray_that_does_not_start_says_why_and_what_to_do_in_one_line(monkeypatch, load, words):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    message = why_ray_failed(Exception("The node timed out during startup.\nTraceback"))
    assert "\n" not in message
    assert all(word in message for word in [*words, "/tmp/ray/session_latest/logs"])


def test_processes_of_one_machine_keep_to_loopback_and_share_a_token_nobody_else_has(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    first, other = one_machine(), one_machine()
    assert first["RAY_AUTH_TOKEN"] != other["RAY_AUTH_TOKEN"]
    assert first["VLLM_HOST_IP"] == "127.0.0.1"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "RAY_AUTH_TOKEN" not in one_machine()


@pytest.mark.parametrize("failed", ["served", "started"])
def test_a_change_of_checkpoints_fails_for_an_engine_of_its_own_and_for_no_other(
    monkeypatch, tmp_path, failed
):
    path = tmp_path / "frontier.yaml"
    path.write_text("endpoints: {low: a, high: b}\nmembers: [0]\n")
    config = configuration.load(path)
    served, started = (
        SimpleNamespace(groups=lambda name=name: {name: (), "both": ()}, config=config)
        for name in ("served", "started")
    )
    overview = Overview(failed={failed: ("frontier@0", "no memory")})
    monkeypatch.setattr("ray.serve.run", lambda *_, **__: None)
    monkeypatch.setattr(deployments, "application", lambda *_: None)
    monkeypatch.setattr(bring_up, "_answers", lambda _: True)
    monkeypatch.setattr(bring_up, "cluster_overview", lambda: overview)
    monkeypatch.setattr(bring_up, "log_folder", lambda: tmp_path)
    if failed == "served":  # Ray starts its replica again, whatever becomes of the change
        bring_up.deploy(served, print, started)
    else:
        with pytest.raises(StartFailed, match="the engine of frontier@0 did not start: no memory"):
            bring_up.deploy(served, print, started)
    with pytest.raises(StartFailed, match="frontier@0"):  # the first start
        bring_up.deploy(served if failed == "served" else started, print)


@pytest.mark.parametrize("compiler", ["no-such-compiler", "true"])
def test_without_a_compiler_engines_on_the_cpu_compile_nothing(monkeypatch, compiler):
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/headers")
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: str(path) == "/headers/Python.h")
    monkeypatch.setenv("CXX", compiler)
    disabled = cpu_environment(2, 1).get("TORCH_COMPILE_DISABLE")
    assert disabled == (None if compiler == "true" else "1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Traceback:\n  File x\nValueError: no\nray.exceptions.RayError: late\nmore",
            "ray.exceptions.RayError: late",
        ),
        ("RuntimeError: \n        Failed to bind.\n        Retry", "RuntimeError: Failed to bind."),
        ("nothing\nnamed\n", "named"),
        ("", ""),
    ],
)
def test_the_cause_of_a_failed_deployment_is_a_line_that_says_something(text, told):
    assert bring_up.last_error(text) == told
