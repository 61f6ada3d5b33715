"""`alpharay serve --embedded parts`, as a user starts it."""

from __future__ import annotations

import json

import httpx
import pytest

from alpharay.serve.frontiers import embedded_config

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def parts(start_server, tmp_path_factory):
    running = start_server(tmp_path_factory.mktemp("parts"), "--embedded", "parts")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def problems():
    """Under low and under high limits, by id."""
    lines = embedded_config("parts").with_name("problems.jsonl").read_text().splitlines()
    return {problem["id"]: problem for problem in map(json.loads, lines)}


def post_problem(parts, problem, **controls):
    body = {
        "model": "frontier",
        "seed": 1,
        "messages": [{"role": "user", "content": problem["prompt"]}],
        "alpharay": {"tests": problem["tests"], **controls},
    }
    answer = parts.post(body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_program_of_two_parts_is_sampled_from_both_endpoints_and_from_nothing_between(parts, problems):
    """Without a pass before the end the schedule's whole budget is drawn."""
    answer = post_problem(parts, problems["parts2-test-2-low"], budget=40, stop_after_passes=40)["alpharay"]
    drawn = {name: member["drawn"] for name, member in answer["members"].items() if member["drawn"]}
    assert drawn.keys() == {"frontier@0", "frontier@1"}
    assert sum(drawn.values()) == answer["drawn"] == 40
    assert answer["judge"] == "ok"


def test_the_default_budget_solves_problems_of_either_limits(parts, problems):
    """With the limits that the configuration has: either way would pass a problem that gave it seconds.

    One problem that an endpoint solves under the limits that it was trained for is enough.
    """
    for limits, endpoint in (("low", "frontier@0"), ("high", "frontier@1")):
        solved = set()
        for prompt in range(6):
            answer = post_problem(parts, problems[f"parts2-test-{prompt}-{limits}"])
            assert answer["alpharay"]["budget"] == 100
            note = answer["choices"][0]["alpharay"]
            if note["verdict"] == "accepted":
                solved.add(note["member"])
            if endpoint in solved:
                break
        assert endpoint in solved


def test_the_middle_is_there_to_be_pinned(parts):
    models = {model["id"]: model["alpharay"] for model in httpx.get(f"{parts.url}/models").json()["data"]}
    assert models["frontier@0.5"]["alpha"] == 0.5


def test_the_pages_examples_are_problems_of_two_parts(parts, problems):
    examples = httpx.get(f"{parts.root}/page/examples.json").json()
    assert examples
    assert {example["id"] for example in examples} <= problems.keys()
