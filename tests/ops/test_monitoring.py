"""The dashboard and the alerts that are committed: what their own tools say of them, and that nothing is left out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs Debian's package prometheus"
)


def promtool(*words):
    done = subprocess.run(["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def alerts():
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"]]


@needs_promtool
def test_prometheus_accepts_its_configuration_and_the_rules():
    assert "warning" not in promtool("check", "rules", "alerts.yml").lower()
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_each_alert_fires_under_its_cause_and_none_without():
    promtool("test", "rules", "alerts_test.yml")


def test_no_alert_is_without_a_test_a_severity_and_a_way_out():
    tested = set(re.findall(r'alertname="(\w+)"', (PROMETHEUS / "alerts_test.yml").read_text()))
    assert {rule["alert"] for rule in alerts()} == tested
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "warn", "info"}, rule["alert"]
        assert rule["annotations"].keys() == {"summary", "action"}, rule["alert"]


def test_the_committed_dashboard_is_what_its_script_makes():
    script = DEPLOY / "grafana" / "dashboard.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_panel_has_a_query_a_unit_and_a_place_of_its_own():
    board = json.loads((DEPLOY / "grafana" / "alpharay.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len(panels) > 25
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    for panel in panels:
        assert all(target["expr"] for target in panel["targets"]), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_what_alerts_and_dashboard_ask_for_is_what_the_server_counts():
    """Misspelled metrics return nothing for ever; those of vLLM and Ray are queried from a real server elsewhere."""
    known = set(re.findall(r'"(alpharay_\w+)"', "".join(file.read_text() for file in counted())))
    known |= {f"{name}_total" for name in known}
    text = (PROMETHEUS / "alerts.yml").read_text() + (DEPLOY / "grafana" / "alpharay.json").read_text()
    queried = {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(alpharay_\w+)(?=[\[{ )])", text)
    }
    assert len(queried) > 15
    assert queried <= known


def counted():
    return [DEPLOY.parent / "serve" / name for name in ("state/metrics.py", "gateway/routes/metrics_page.py")]
