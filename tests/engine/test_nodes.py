"""A Ray cluster of four nodes, each with its own address, and one of them lost under load.

The nodes are what `ray start` starts on four machines, here on four addresses of the loopback. Members are placed by
a resource that three of them have; two members take two, the third is spare.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import httpx
import psutil
import pytest

from alpharay.serve.learn.store import Store
from bench.processes import holding

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not os.environ.get("ALPHARAY_NODES"), reason="five minutes: make test-nodes"),
]

RAY = Path(sys.executable).parent / "ray"


@dataclass
class Node:
    """One `ray start --block` and all that Ray starts under it. log: what it says."""

    log: Path
    host: str
    options: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    def start(self) -> None:
        common = ("--num-cpus", "1", "--object-store-memory", "100000000")
        command = [RAY, "start", "--block", "--node-ip-address", self.host, *common, *self.options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def wait(self, wait_until: Callable[..., None]) -> None:
        """Until Ray is up; started once more where it gave up, which on a busy machine it does after half a minute."""
        for _ in range(2):
            wait_until(lambda: self.process.poll() is not None or self.up(), f"Ray on {self.host}")
            if self.process.poll() is None:
                return
            self.start()
        pytest.fail(self.log.read_text()[-2000:])

    def up(self) -> bool:
        return "Ray runtime started" in self.log.read_text()

    def processes(self, word: str = "") -> list[psutil.Process]:
        """Processes of this node whose command line holds that word."""
        try:
            tree = [psutil.Process(self.process.pid)]
            tree += tree[0].children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        self.seen |= {process.pid: process for process in tree}
        return holding(word, tree)

    def parts(self) -> set[str]:
        """The application's parts on this node: `member-0`, `judge`, `cluster state`, …"""
        lines = [" ".join(process.cmdline()) for process in self.processes("ServeReplica:alpharay:")]
        return {line.partition("ServeReplica:alpharay:")[2].split()[0].partition("#")[0] for line in lines}

    def lose(self) -> list[psutil.Process]:
        """Ends what connects this node to the cluster, at once and without a word; what then still lives on it."""
        everything = self.processes()
        for process in (self.processes("raylet/raylet")[0], psutil.Process(self.process.pid)):
            process.kill()
        self.process.wait(20)
        return psutil.wait_procs(everything, timeout=60)[1]

    def stop(self) -> None:
        self.processes()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            pass  # `ray start --block` waits for all that it started
        finally:
            self.process.kill()
            _, alive = psutil.wait_procs(list(self.seen.values()), timeout=20)
            for process in alive:
                process.kill()


@dataclass
class Cluster:
    """head: where the server's proxy is. workers: the other nodes. logs: of all replicas, as JSON."""

    head: Node
    workers: list[Node]
    server: object
    logs: Path
    store: str

    def at(self, part: str) -> list[Node]:
        """The nodes on which that part of the application runs; a host's name goes on with its weights."""
        nodes = (self.head, *self.workers)
        return [
            node
            for node in nodes
            if any(name == part or name.startswith(f"{part}-") for name in node.parts())
        ]


def free_port(host: str) -> int:
    with socket.socket() as free:
        free.bind((host, 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(start_server, wait_until, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("nodes")
    embedded = files("alpharay.serve") / "embedded"
    config = folder / "two.yaml"
    store = f"sqlite:///{folder}/learnt.db"
    config.write_text(
        f"name: two\nendpoints: {{low: '{embedded}/low', high: '{embedded}/high'}}\nmembers: [0, 1.5]\n"
        "engine:\n  dtype: float32\n  max_model_len: 512\n  resources: {engines: 1}\n"
        "  extra: {max_num_seqs: 32, kv_cache_memory_bytes: 67108864}\n"
        f"judge: {{replicas: 2, workers: 1}}\nstore: '{store}'\n"
        f"server: {{drain_s: 20, log_format: json, log_folder: '{folder}/logs'}}\n"
    )
    # Not 127.0.0.1, for which Ray puts an address of the machine's.
    head, *others = (f"127.0.0.{number}" for number in range(2, 6))
    address = f"{head}:{free_port(head)}"
    resources = ("--resources", '{"engines": 1}')
    lead = ("--head", "--port", address.partition(":")[2], "--include-dashboard", "false")
    nodes = [Node(folder / f"{head}.log", head, lead)]
    nodes += [Node(folder / f"{other}.log", other, ("--address", address, *resources)) for other in others]
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "ALPHARAY_CACHE": str(folder / "cache"),
        }.items():
            environment.setenv(name, value)
        try:
            for node in nodes:  # the head first: the others join it
                node.start()
                if node is nodes[0]:
                    node.wait(wait_until)
            for node in nodes[1:]:
                node.wait(wait_until)
            server = start_server(folder, str(config), "--address", address)
            yield Cluster(nodes[0], nodes[1:], server, folder / "logs", store)
            assert server.stop() == 0
        finally:
            for node in reversed(nodes):
                if node.process is not None:
                    node.stop()


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list]:
    results: list = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def metadata_of(response: httpx.Response) -> dict:
    assert response.status_code == 200, response.text
    return response.json()["alpharay"]


def test_members_are_placed_by_resources_and_the_judges_on_different_nodes(cluster):
    (zero,), (other,) = cluster.at("member-0"), cluster.at("member-1_5")
    assert zero is not other
    assert cluster.head not in (zero, other)
    assert len(cluster.at("judge")) == 2
    assert cluster.at("cluster-state") == cluster.at("ingress") == [cluster.head]


def test_one_id_leads_through_the_json_logs_of_every_part_on_every_node(cluster, sampling, wait_until):
    name = "from-the-client-1"
    answer = cluster.server.post(
        sampling(model="two", controls={"budget": 8, "stop_after_passes": 8}), headers={"X-Request-ID": name}
    )
    assert metadata_of(answer)["judge"] == "ok"
    assert answer.headers["x-request-id"] == name

    def lines() -> list[dict]:
        texts = [path.read_text() for path in cluster.logs.rglob("*.log")]
        every = [
            json.loads(line)
            for text in texts
            for line in text.splitlines(keepends=True)
            if line.endswith("\n")
        ]
        return [line for line in every if line.get("request_id") == name]

    parts = ("alpharay_ingress", "alpharay_member-0-", "alpharay_member-1_5-", "alpharay_judge")

    def logged_parts() -> set[str]:
        names = [line.get("deployment", "") for line in lines()]
        return {part for part in parts if any(name.startswith(part) for name in names)}

    wait_until(lambda: logged_parts() == set(parts), f"lines of {parts}", 20)
    (ended,) = [line for line in lines() if "outcome" in line]
    assert (ended["endpoint"], ended["outcome"]) == ("chat", "ok")
    assert ended["seconds"] > 0
    assert answer.json()["id"].endswith(ended["answer"])


def test_a_lost_nodes_member_comes_back_on_another_and_the_rest_answers_meanwhile(
    cluster, sampling, wait_until
):
    server, learnt = cluster.server, Store(cluster.store)
    (lost,) = cluster.at("member-1_5")
    (spare,) = set(map(id, cluster.workers)) - {
        id(node) for part in ("member-0", "member-1_5") for node in cluster.at(part)
    }
    thread, results = in_background(
        lambda: server.post(
            # Long enough to be met half-way: each sample goes on to its last token.
            sampling(
                model="two",
                controls={"budget": 48, "stop_after_passes": 48},
                max_tokens=400,
                ignore_eos=True,
            )
        )
    )
    wait_until(
        lambda: server.metric("alpharay_engine_requests", member="two@1.5") > 0, "samples on that node"
    )
    assert lost.lose() == []
    later = [
        server.post(sampling(model="two", controls={"budget": 4, "stop_after_passes": 4})) for _ in range(2)
    ]
    assert [metadata["members"]["two@0"]["drawn"] for metadata in map(metadata_of, later)] == [4, 4]
    pinned = server.post(sampling(model="two@1.5", tests=False))
    assert (pinned.status_code, pinned.headers["retry-after"].isdigit()) == (503, True)
    thread.join()
    under_load = metadata_of(results[0])
    assert under_load["drawn"] == 48
    assert under_load["members"]["two@0"]["drawn"] > 24
    wait_until(
        lambda: server.post(sampling(model="two@1.5", tests=False)).status_code == 200, "the member back", 300
    )
    assert [id(node) for node in cluster.at("member-1_5")] == [spare]
    wait_until(lambda: len(cluster.at("judge")) == 2, "the judge on two nodes again")
    # What the engines of both nodes drew, before and after, is in the one log that the router learns from.
    again = metadata_of(server.post(sampling(model="two", controls={"budget": 4, "stop_after_passes": 4})))
    assert {name: member["drawn"] for name, member in again["members"].items()} == {"two@0": 2, "two@1.5": 2}
    learnt.open()
    wait_until(lambda: len(learnt.log(0)) >= 8 + 8 + 4, "what was judged in the log")
    assert {row.logged.member for row in learnt.log(0)} == {"two@0", "two@1.5"}
    learnt.close()
