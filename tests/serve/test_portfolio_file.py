"""A recommended schedule in the configuration: read, checked, and followed."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from alpharay.serve.config import load
from alpharay.serve.errors import ConfigError
from alpharay.serve.portfolio_file import portfolio_text, read_portfolio


def configuration(folder, weights):
    (folder / "audit").mkdir()
    (folder / "audit/portfolio.yaml").write_text(weights)
    path = folder / "frontier.yaml"
    path.write_text(
        "endpoints: {low: low, high: high}\nmembers: [0, 1]\n"
        "router: {policy: portfolio, portfolio: audit/portfolio.yaml}\n"
    )
    return path


def test_a_relative_path_counts_from_the_configuration(tmp_path):
    loaded = load(configuration(tmp_path, "weights: {frontier@0: 0.25, frontier@1: 0.75}"))
    assert loaded.router.portfolio == tmp_path / "audit/portfolio.yaml"


async def test_a_budget_is_split_as_the_audit_recommends(serve, tmp_path):
    path = tmp_path / "portfolio.yaml"
    path.write_text("policy: portfolio\nbudget: 8\nweights: {frontier@0: 0.25, frontier@1: 0.75}\n")
    serving = await serve(router={"policy": "portfolio", "portfolio": path})
    for seed in ({}, {"seed": 5}):
        answer = await serving.answer(alpharay={"budget": 8}, **seed)
        drawn = {name: member["drawn"] for name, member in answer["alpharay"]["members"].items()}
        assert drawn == {"frontier@0": 2, "frontier@1": 6}


def test_a_portfolio_is_followed_unless_the_configuration_names_a_policy(tmp_path):
    path = configuration(tmp_path, "schedule: [{frontier@1: 1}, {frontier@0: 2}]")
    text = path.read_text()
    for written, policy in [("", "portfolio"), ("policy: uniform, ", "uniform")]:
        path.write_text(text.replace("policy: portfolio, ", written))
        assert load(path).router.policy == policy


@given(st.lists(st.sampled_from(["frontier@0", "frontier@1", "frontier@wide"]), min_size=1, max_size=300))
def test_what_is_written_is_read(schedule):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "portfolio.yaml"
        path.write_text(portfolio_text(schedule, ["How it was\nmeasured"]))
        assert read_portfolio(path, set(schedule)).schedule == tuple(schedule)
        document = yaml.safe_load(path.read_text())
    assert all(sum(split.values()) == k for k, split in document["split"].items())


@pytest.mark.parametrize("seed", [{}, {"seed": 5}])
async def test_a_schedule_is_followed_and_members_restrict_it(serve, tmp_path, seed):
    path = tmp_path / "portfolio.yaml"
    path.write_text("schedule: [{frontier@1: 1}, {frontier@0: 7}]\n")
    serving = await serve(router={"portfolio": path})
    for controls, drawn in [
        ({"budget": 8}, {"frontier@0": 7, "frontier@1": 1}),
        ({"budget": 4, "members": ["frontier@1"]}, {"frontier@1": 4}),
    ]:
        answer = await serving.answer(alpharay=controls, **seed)
        counts = {
            name: member["drawn"] for name, member in answer["alpharay"]["members"].items() if member["drawn"]
        }
        assert counts == drawn


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        ("schedule: [{frontier@0.5: 1}]", "'frontier@0.5', which is not served"),
        ("schedule: [{frontier@0: 0}]", "must be a whole number from 1 to 100000, got 0"),
        ("schedule: [{frontier@0: 1, frontier@1: 2}]", "a run of the schedule is a member and a number"),
        ("schedule: {frontier@0: 1}", "a list of runs such as"),
        ("schedule: []", "between 1 and 100000 samples"),
        ("weights: {frontier@0.5: 1}", "'frontier@0.5', which is not served"),
        ("weights: {frontier@0: -1}", "must be a number from 0, got -1"),
        ("weights: {frontier@0: .nan}", "must be a number from 0"),
        ("weights: {frontier@0: 0}", "gives every member nothing"),
        ("policy: single", "has no `schedule`"),
        ("[", "cannot be read"),
    ],
)
def test_a_split_that_cannot_be_is_refused(tmp_path, weights, names):
    with pytest.raises(ConfigError, match=names):
        load(configuration(tmp_path, weights))
