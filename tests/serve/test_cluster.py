"""What is known of the cluster from outside of it."""

import socket

import pytest

from alpharay.serve import config as configuration
from alpharay.serve.cluster import HeadWatch, check_resources
from alpharay.serve.errors import StartFailed


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


def test_more_judges_than_nodes_are_told_at_once(tmp_path):
    path = tmp_path / "frontier.yaml"
    path.write_text("endpoints: {low: a, high: b}\nmembers: [0]\njudge: {replicas: 2}\n")
    config = configuration.load(path)
    head = {"node:__internal_head__": 1, "node:10.0.0.1": 1}
    check_resources(config, {**head, "node:10.0.0.2": 1})
    with pytest.raises(StartFailed, match=r"judge.replicas: 2 judges need as many nodes, Ray has 1"):
        check_resources(config, head)
