"""The README's request, as it is written there."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import httpx
import pytest

from alpharay.serve.config import load
from alpharay.serve.portfolio_file import read_portfolio

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def default(start_server, tmp_path_factory):
    """The embedded frontier, as `alpharay serve` without a configuration serves it."""
    running = start_server(tmp_path_factory.mktemp("embedded"))
    yield running
    assert running.stop() == 0


README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_readme_request_is_answered_as_the_readme_says(default):
    """Not to the letter: another processor rounds differently, and may so sample another program."""
    (body,) = re.findall(r"curl -s \S+ -H '[^']+' -d '(.+?)'\n```", README, re.DOTALL)
    answer = default.post(json.loads(body)).json()
    note, told = answer["choices"][0]["alpharay"], answer["alpharay"]
    assert (note["verdict"], note["passed"], note["total"]) == ("accepted", 3, 3)
    assert (told["budget"], told["stopped"], told["judge"]) == (32, "passes", "ok")
    assert told["drawn"] < 32


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
    told = default.post(body).json()["alpharay"]["members"]
    assert {name: member["drawn"] for name, member in told.items() if member["drawn"]} == Counter(
        schedule[:16]
    )
