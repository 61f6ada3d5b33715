"""Real servers: `alpharay serve` as a user starts it, with real Ray, engines and sandbox."""

from __future__ import annotations

import copy
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.processes import holding

START_S = 900
PATIENCE_S = 300


def _wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Waits for a condition, not for a time; fails naming what never came."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)  # between two looks at a real server there is nothing to wait on


@dataclass
class RunningServer:
    """One `alpharay serve` process and what a test needs to talk to it."""

    process: subprocess.Popen[str]
    url: str
    log: Path
    key: str = "none"
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=self.key, max_retries=0, timeout=PATIENCE_S)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def post(self, body: object, **options) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self.headers, **options.pop("headers", {})}
        return httpx.post(
            f"{self.url}/chat/completions", content=content, headers=headers, timeout=PATIENCE_S, **options
        )

    def metric(self, name: str, **labels: str) -> float:
        """The sum of that metric's samples that carry those labels."""
        text = httpx.get(f"{self.root}/metrics", timeout=30).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def ready(self) -> bool:
        """Whether every member can answer."""
        answer = httpx.get(f"{self.root}/ready", timeout=30)
        return answer.status_code == 200 and "degraded" not in answer.json()

    def idle(self) -> bool:
        return not self.metric("alpharay_engine_requests") and not self.metric("alpharay_requests_in_flight")

    def processes(self, word: str) -> list[psutil.Process]:
        """Processes of this server whose command line holds that word."""
        tree = psutil.Process(self.process.pid).children(recursive=True)
        self.seen |= {process.pid: process for process in tree}
        return holding(word, tree)

    def stop(self, end: Callable[[], object] | None = None) -> int:
        """SIGTERM, or `end()` in its place, then the exit code; everything it started must be gone."""
        self.processes("")
        (end or self.process.terminate)()
        try:
            code = self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            _, alive = psutil.wait_procs(list(self.seen.values()), timeout=20)
            for process in alive:
                process.kill()
        assert not alive, f"left behind: {alive}"
        return code


def _start_server(folder: Path, *arguments: str, **environment: str) -> RunningServer:
    """Starts `alpharay serve` on a free port and waits for its `ready` line. environment: beside this process's own."""
    log = folder / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "alpharay.serve.cli.main", "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "ALPHARAY_CACHE": str(folder / "cache"), **environment},
        )
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        arrived = selector.select(START_S)
    line = process.stdout.readline() if arrived else ""
    if not line.startswith("ready "):
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        pytest.fail(f"the server did not get ready: {line!r}\n{log.read_text()[-3000:]}")
    return RunningServer(process, line.split()[1], log)


# Five alphas of the embedded endpoints under the policy `uniform`: a request's draws can be told beforehand.
_LINE = """
endpoints: {{low: '{embedded}/low', high: '{embedded}/high'}}
members: [-0.5, 0.0, 0.5, 1.0, 1.5]
engine:
  dtype: float32
  max_model_len: 512
  members_per_replica: 5
  extra: {{max_num_seqs: 64, kv_cache_memory_bytes: 67108864}}
"""


class SharedServer:
    """The line between the embedded endpoints, which most tests of the package share: started by the first of them."""

    def __init__(self, new_folder: Callable[[str], Path]) -> None:
        self._new_folder = new_folder
        self._running: RunningServer | None = None

    def running(self) -> RunningServer:
        if self._running is None:
            folder = self._new_folder("line")
            config = folder / "frontier.yaml"
            config.write_text(_LINE.format(embedded=files("alpharay.serve") / "embedded"))
            self._running = _start_server(folder, str(config))
        return self._running

    def stop(self) -> None:
        running, self._running = self._running, None
        assert running is None or running.stop() == 0


@pytest.fixture(scope="package")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServer]:
    shared = SharedServer(tmp_path_factory.mktemp)
    yield shared
    shared.stop()


@pytest.fixture(scope="module")
def server(shared_server: SharedServer) -> RunningServer:
    return shared_server.running()


@pytest.fixture(scope="module")
def alone(shared_server: SharedServer) -> None:
    """For tests that start engines of their own: an idle server takes a quarter of a core from them."""
    shared_server.stop()


@pytest.fixture(scope="module")
def start_server(alone: None) -> Callable[..., RunningServer]:
    return _start_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that use the shared server come first, so that it starts once; then those that use it before they start
    their own; then those that do not use it.
    """
    used: dict[Path, set[str]] = {}
    for item in items:
        used.setdefault(item.path, set()).update(getattr(item, "fixturenames", ()))

    def turn(item: pytest.Item) -> int:
        if Path(__file__).parent not in item.path.parents:
            return 3  # leaving the package would end its server
        names = used[item.path]
        return 0 if "alone" not in names else 1 if "server" in names else 2

    items.sort(key=turn)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    return _wait_until


@pytest.fixture(scope="session")
def problems() -> list[dict]:
    """The embedded frontier's own problems, none of which its members were trained on."""
    text = (files("alpharay.serve") / "embedded" / "problems.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def sampling(problems) -> Callable[..., dict]:
    """The body of a request for one of the problems, with its tests unless told otherwise."""

    def body(number: int = 3, *, tests: bool = True, controls: dict | None = None, **fields) -> dict:
        problem = problems[number]
        own = {"tests": copy.deepcopy(problem["tests"]), "time_limit_s": 1.0} if tests else {}
        return {
            "model": "frontier",
            "messages": [{"role": "user", "content": problem["prompt"]}],
            "max_tokens": 100,
            "alpharay": {**own, **(controls or {})},
            **fields,
        }

    return body
