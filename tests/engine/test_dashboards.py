"""Every panel of the committed dashboard, queried from a real Prometheus that scrapes the real server under load."""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from .prometheus import needs_prometheus, results, running_prometheus

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARD = json.loads((DEPLOY / "grafana" / "alpharay.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]

pytestmark = [pytest.mark.engine, needs_prometheus]


@pytest.fixture(scope="module")
def engine_metrics(server) -> str:
    """Where the server says that its engines' metrics are."""
    (line,) = [line for line in server.log.read_text().splitlines() if "engine metrics on " in line]
    return line.rpartition(" ")[2]


@pytest.fixture(scope="module")
def prometheus(server, engine_metrics, problems, tmp_path_factory) -> Iterator[str]:
    """The committed configuration with this server's addresses, scraping often; load goes on until the end."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = {"alpharay": server.root, "engines": engine_metrics.removesuffix("/metrics")}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]].removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", folder)
    enough = threading.Event()
    load = threading.Thread(target=lambda: keep_busy(server, problems, enough))
    with running_prometheus(folder / "prometheus.yml") as address:
        load.start()
        yield address
        enough.set()
        load.join()


def keep_busy(server, problems, enough: threading.Event) -> None:
    """Answered and refused, streamed and whole, with passes and without, until the stop event is set."""
    easy = [problem for problem in problems if problem["id"].startswith(("grid", "divisors", "coprime"))]
    number = 0
    while not enough.is_set():
        problem = easy[number % len(easy)]
        server.post(
            {
                "model": "frontier",
                "messages": [{"role": "user", "content": problem["prompt"]}],
                "max_tokens": 100,
                "stream": number % 2 == 0,
                "alpharay": {"budget": 10, "tests": problem["tests"], "time_limit_s": 0.5},
            }
        )
        server.post({"model": "frontier", "messages": [], "alpharay": {"budget": 0}})
        number += 1


def finite_values(prometheus: str, query: str) -> list[float]:
    """The values that a query returns now, without NaN and infinities."""
    query = query.replace("$__rate_interval", "30s").replace("$window", "2m")
    values = [float(series["value"][1]) for series in results(prometheus, query)]
    return [value for value in values if math.isfinite(value)]


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_the_panel_returns_data(prometheus, wait_until, panel):
    for target in panel["targets"]:
        wait_until(
            lambda query=target["expr"]: finite_values(prometheus, query),
            f"data for {target['expr']}",
            seconds=90,
        )


def test_every_member_has_its_engines_metrics_under_its_name(prometheus, wait_until, server):
    members = {model["id"] for model in httpx.get(f"{server.url}/models", timeout=30).json()["data"]} - {
        "frontier"
    }

    def named() -> set[str]:
        query = "sum by (model_name) (ray_vllm_generation_tokens_total) > 0"
        return {series["metric"]["model_name"] for series in results(prometheus, query)}

    wait_until(lambda: named() == members, f"tokens of {members}", seconds=60)


def test_no_alert_fires_on_a_server_that_is_well(prometheus):
    reply = httpx.get(f"{prometheus}/api/v1/alerts", timeout=10).json()
    assert [alert["labels"] for alert in reply["data"]["alerts"] if alert["state"] == "firing"] == []
