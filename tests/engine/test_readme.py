"""The README's request and the server of docs/python.md, as they are written there."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest

import alpharay
from alpharay.serve.config import load
from alpharay.serve.portfolio_file import read_portfolio

from .blocks import blocks
from .conftest import RunningServer

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def default(alone, tmp_path_factory):
    """The embedded frontier, as `alpharay serve` without a configuration and `alpharay.Server()` serve it."""
    folder = tmp_path_factory.mktemp("embedded")
    log = folder / "serve.log"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ALPHARAY_CACHE", str(folder / "cache"))
        server = alpharay.Server(log=log)
        with server:
            running = RunningServer(server._process, server.url, log)
            yield running
            assert running.stop(server.stop) == 0


README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_readme_request_is_answered_as_the_readme_says(default):
    """Not to the letter: another processor rounds differently, and may so sample another program."""
    (body,) = re.findall(r"curl -s \S+ -H '[^']+' -d '(.+?)'\n```", README, re.DOTALL)
    answer = default.post(json.loads(body)).json()
    note, metadata = answer["choices"][0]["alpharay"], answer["alpharay"]
    assert (note["verdict"], note["passed"], note["total"]) == ("accepted", 3, 3)
    assert (metadata["budget"], metadata["stopped"], metadata["judge"]) == (32, "passes", "ok")
    assert metadata["drawn"] < 32


def test_the_default_frontier_follows_the_schedule_that_a_search_found(default):
    """Members are points of the span of four checkpoints; the schedule decides which of them a request draws."""
    models = {model["id"]: model["alpharay"] for model in httpx.get(f"{default.url}/models").json()["data"]}
    cross = models["frontier@cross-wide"]
    assert (cross["alpha"], cross["weights"]) == (None, {"init": 0.25, "high": 0.25, "lora_high": 0.5})
    schedule = read_portfolio(load(None).router.portfolio, models).schedule
    body = {
        "model": "frontier",
        "seed": 3,
        "messages": [{"role": "user", "content": "Print the sum of two integers."}],
        "alpharay": {
            "budget": 16,
            "stop_after_passes": 16,
            "tests": {"kind": "stdio", "cases": [{"input": "1 2", "output": "nothing prints this"}]},
        },
    }
    members = default.post(body).json()["alpharay"]["members"]
    assert {name: member["drawn"] for name, member in members.items() if member["drawn"]} == Counter(
        schedule[:16]
    )


def test_the_documented_server_of_python_answers(default, monkeypatch, capsys):
    """With the server that runs already: the fixture starts and stops it in the same way."""
    (script,) = [
        block.text
        for block in blocks()
        if block.page == "docs/python.md" and "alpharay.Server(" in block.text
    ]
    monkeypatch.setattr(alpharay, "Server", lambda: nullcontext(default))
    exec(compile(script, "docs", "exec"), {})
    assert capsys.readouterr().out.strip() == "frontier"
