"""The split of an audit in the configuration: read, checked, and followed."""

from __future__ import annotations

import pytest

from alpharay.serve.config import load
from alpharay.serve.errors import ConfigError


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
        drawn = {name: one["drawn"] for name, one in answer["alpharay"]["members"].items()}
        assert drawn == {"frontier@0": 2, "frontier@1": 6}


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        ("weights: {frontier@0.5: 1}", "'frontier@0.5', which is not served"),
        ("weights: {frontier@0: -1}", "must be a number from 0, got -1"),
        ("weights: {frontier@0: .nan}", "must be a number from 0"),
        ("weights: {frontier@0: 0}", "gives every member nothing"),
        ("policy: single", "has no `weights`"),
        ("[", "cannot be read"),
    ],
)
def test_a_split_that_cannot_be_is_refused(tmp_path, weights, names):
    with pytest.raises(ConfigError, match=names):
        load(configuration(tmp_path, weights))
