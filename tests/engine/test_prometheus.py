"""The metrics page, scraped by a real Prometheus."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from .prometheus import needs_prometheus, results, running_prometheus

pytestmark = pytest.mark.engine

PROMTOOL = shutil.which("promtool")

# One request with tests must move all of these.
QUERIES = [
    'sum(alpharay_requests_total{endpoint="chat",outcome="ok"}) > 0',
    "sum(alpharay_request_duration_seconds_count) > 0",
    "sum by (member) (alpharay_samples_total) > 0",
    'sum(alpharay_tokens_total{kind="completion"}) > 0',
    "sum(alpharay_wasted_tokens_total) > 0",
    'sum(alpharay_verdicts_total{verdict="accepted"}) > 0',
    "sum(alpharay_selected_total) > 0",
    "sum(alpharay_samples_to_first_pass_count) > 0",
    "sum(alpharay_judge_duration_seconds_count) > 0",
    "alpharay_judge_queue_depth >= 0",
    "sum(alpharay_replica_up) == 5",
    "alpharay_replica_restarts_total >= 0",
    "sum(alpharay_rejections_total) > 0",
    "abs(sum(alpharay_router_weight) - 1) < 0.001",
    'alpharay_checkpoint_info{alpha="1.5"} == 1',
    "sum(alpharay_time_to_first_token_seconds_count) > 0",
]


@needs_prometheus
def test_a_real_prometheus_scrapes_every_metric(server, sampling, wait_until, tmp_path: Path):
    server.post(sampling(12, controls={"budget": 10, "stop_after_passes": 10}))
    server.post(sampling(stream=True))
    server.post(sampling(controls={"budget": 0}))
    config = tmp_path / "prometheus.yml"
    target = server.root.removeprefix("http://")
    config.write_text(
        f"scrape_configs: [{{job_name: alpharay, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]"
    )
    with running_prometheus(config) as prometheus:
        for query in QUERIES:
            wait_until(lambda query=query: results(prometheus, query), query, seconds=60)


@pytest.mark.skipif(PROMTOOL is None, reason="needs Debian's package prometheus")
def test_promtool_finds_nothing_to_say(server):
    page = httpx.get(f"{server.root}/metrics", timeout=30)
    assert page.headers["content-type"].startswith("text/plain")
    checked = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=page.text, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
