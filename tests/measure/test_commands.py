"""`audit` and `replay` as a user meets them: files, keys, exit codes, one clear line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from alpharay.serve.cli import main
from alpharay.serve.evaluate.outcomes import write_outcomes

from .outcomes_files import columns_of, outcomes_file

PROBLEMS = 60


@pytest.fixture
def alpharay(capsys):
    def run(*arguments):
        try:
            code = main.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


def complementary():
    solve = np.zeros((PROBLEMS, 2))
    solve[np.arange(PROBLEMS), np.random.default_rng(0).integers(0, 2, PROBLEMS)] = 0.3
    return solve


@pytest.fixture
def pays(tmp_path):
    return outcomes_file(tmp_path / "outcomes.parquet", complementary(), samples=20)


def test_audit_writes_what_the_contract_names(alpharay, pays, tmp_path):
    code, out, _ = alpharay("audit", pays, "--out", tmp_path / "audit")
    assert code == 0
    assert out.startswith("An ensemble pays: with 20 samples the portfolio solves ")
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {
        "report.md", "report.json", "frontier.png", "portfolio.yaml",
    }  # fmt: skip
    report = json.loads((tmp_path / "audit/report.json").read_text())
    assert list(report) == [
        "problems", "members", "best_single", "ensembles", "gain", "advice", "why", "redundancy",
    ]  # fmt: skip
    assert report["problems"] == PROBLEMS
    member = report["members"]["frontier@0"]
    assert list(member) == ["alpha", "samples", "pass_at", "correctness_failures", "efficiency_failures"]
    assert list(member["pass_at"]) == ["1", "2", "5", "10", "20"]
    assert 0 < member["pass_at"]["1"] < member["pass_at"]["20"] < 1
    assert set(report["ensembles"]) == {"uniform", "portfolio", "oracle"}
    assert sum(report["ensembles"]["portfolio"]["weights"].values()) == pytest.approx(1)
    gain = report["gain"]["20"]
    assert list(gain) == ["points", "low", "high"]
    assert 0 < gain["low"] < gain["points"] < gain["high"]
    assert 20 < gain["points"] < 70  # percentage points, not shares
    assert (tmp_path / "audit/frontier.png").read_bytes().startswith(b"\x89PNG")
    portfolio = yaml.safe_load((tmp_path / "audit/portfolio.yaml").read_text())
    assert {name for run in portfolio["schedule"] for name in run} == {"frontier@0", "frontier@1"}
    assert sum(portfolio["split"][20].values()) == 20


def test_audit_says_plainly_when_an_ensemble_does_not_pay(alpharay, tmp_path):
    rates = np.random.default_rng(1).beta(0.5, 2, PROBLEMS)
    path = outcomes_file(tmp_path / "o.parquet", np.stack([rates, rates * 0.2], axis=1), samples=20)
    code, out, _ = alpharay("audit", path, "--out", tmp_path / "audit")
    assert code == 0
    assert "does not" in out.splitlines()[0]
    portfolio = yaml.safe_load((tmp_path / "audit/portfolio.yaml").read_text())
    assert portfolio["schedule"] == [{"frontier@0": 250}]
    assert out.splitlines()[0] in (tmp_path / "audit/report.md").read_text()


def test_members_that_say_so_by_their_names_are_baselines(alpharay, tmp_path):
    solve = np.concatenate([complementary(), np.full((PROBLEMS, 2), 0.2)], axis=1)
    names = ["frontier@0", "frontier@1", "temporal:step-400", "temperature-1.2"]
    path = outcomes_file(tmp_path / "o.parquet", solve, names=names, alphas=[0.0, 1.0, None, None])
    code, _, err = alpharay("audit", path, "--out", tmp_path / "audit")
    assert code == 0, err
    report = json.loads((tmp_path / "audit/report.json").read_text())
    assert set(report["baselines"]) == {"temporal", "temperature"}
    assert report["members"]["temporal:step-400"]["alpha"] is None
    assert set(report["ensembles"]["portfolio"]["weights"]) <= {"frontier@0", "frontier@1"}
    text = (tmp_path / "audit/report.md").read_text()
    assert "*temporal* (`temporal:step-400`)" in text


def test_members_off_the_line_are_audited_replayed_and_drawn_by_their_names(alpharay, tmp_path):
    names, alphas = ["frontier@0", "frontier@wide", "frontier@init"], [0.0, None, None]
    solve = np.concatenate([complementary(), np.full((PROBLEMS, 1), 0.2)], axis=1)
    columns = columns_of(solve, names=names, alphas=alphas)
    weights = {
        "frontier@0": None,
        "frontier@wide": '{"init": 1.5, "low": -0.5}',
        "frontier@init": '{"init": 1}',
    }
    path = tmp_path / "o.parquet"
    write_outcomes(path, columns | {"weights": [weights[name] for name in columns["member"]]})
    code, _, err = alpharay("audit", path, "--out", tmp_path / "audit")
    assert code == 0, err
    report = json.loads((tmp_path / "audit/report.json").read_text())
    assert [member["alpha"] for member in report["members"].values()] == [0.0, None, None]
    assert "frontier@wide" in report["ensembles"]["portfolio"]["weights"]
    assert (tmp_path / "audit/frontier.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = alpharay(
        "replay",
        path,
        "--policy",
        "adaptive",
        "--policy",
        "single:wide",
        "--budget",
        8,
        "--seeds",
        1,
        "--json",
    )
    assert code == 0, err
    policies = json.loads(out)["policies"]
    assert policies["adaptive"]["solved"] > policies["single:wide"]["solved"]


def test_a_baseline_can_be_named(alpharay, pays, tmp_path):
    code, _, _ = alpharay("audit", pays, "--out", tmp_path / "a", "--baseline", "old=frontier@0")
    assert code == 0
    report = json.loads((tmp_path / "a/report.json").read_text())
    assert report["baselines"]["old"]["members"] == ["frontier@0"]
    assert "only one member" in report["advice"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--baseline", "old=nobody"], 2, "there is no member 'nobody'"),
        (["--baseline", "old"], 2, "must be NAME=MEMBER"),
        (["--budget", "0"], 2, "must be a whole number from 1"),
        (["--budget", "21"], 1, "a budget of 21 cannot be audited with 20 samples"),
    ],
)
def test_audit_names_what_is_wrong(alpharay, pays, tmp_path, arguments, code, says):
    got, _, err = alpharay("audit", pays, "--out", tmp_path / "a", *arguments)
    assert got == code
    assert says in err
    assert "Traceback" not in err


def test_replay_prints_what_the_contract_names(alpharay, pays):
    code, out, _ = alpharay(
        "replay", pays, "--policy", "uniform", "--policy", "adaptive", "--budget", 8, "--seeds", 3, "--json"
    )
    assert code == 0
    policies = json.loads(out)["policies"]
    assert set(policies) == {"uniform", "adaptive"}
    for result in policies.values():
        assert list(result) == ["solved", "low", "high", "samples", "tokens", "first_pass"]
        assert result["low"] <= result["solved"] <= result["high"]
        assert 1 <= result["first_pass"] <= result["samples"] <= 8
        assert result["tokens"] > result["samples"]


def test_replay_of_several_budgets_is_a_table(alpharay, pays):
    code, out, _ = alpharay(
        "replay",
        pays,
        "--policy",
        "uniform",
        "--policy",
        "single:1",
        "--budget",
        2,
        "--budget",
        10,
        "--seeds",
        2,
    )
    assert code == 0
    rows = [line.split()[:2] for line in out.splitlines() if line.split()[:1] in (["2"], ["10"])]
    assert rows == [["2", "uniform"], ["2", "single:1"], ["10", "uniform"], ["10", "single:1"]]


@pytest.mark.parametrize(
    ("policy", "budget", "code", "says"),
    [
        ("adaptiv", 8, 2, "did you mean 'adaptive'?"),
        ("single:7", 8, 2, "there is no member '7'"),
        ("single", 64, 1, "a budget of 64 asks for more than the 20 samples"),
        ("uniform", 0, 2, "must be a whole number"),
    ],
)
def test_replay_names_what_is_wrong(alpharay, pays, policy, budget, code, says):
    got, _, err = alpharay("replay", pays, "--policy", policy, "--budget", budget, "--seeds", 1)
    assert got == code
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["audit", "replay"])
def test_a_file_that_is_none_is_refused(alpharay, tmp_path, command):
    more = ["--out", tmp_path] if command == "audit" else ["--policy", "uniform", "--budget", 1]
    code, _, err = alpharay(command, tmp_path / "none.parquet", *more)
    assert code == 1
    assert "none.parquet cannot be read: No such file" in err


@pytest.mark.parametrize("command", ["eval", "audit", "replay", "import"])
def test_help_has_an_example(alpharay, command):
    code, out, _ = alpharay(command, "--help")
    assert code == 0
    assert f"example:\n  alpharay {command} " in out
