"""`alpharay search`: what it draws, what it writes, and what it refuses."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import yaml

from alpharay.judge.problem import parse_problem
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router.search.halving import SearchPlan
from alpharay.router.search.nested import measured
from alpharay.router.search.points import checkpoint, lattice
from alpharay.serve import config as configuration
from alpharay.serve.cli import main
from alpharay.serve.config import Config
from alpharay.serve.errors import OutcomesError
from alpharay.serve.evaluate import sampling
from alpharay.serve.evaluate.outcomes import read_outcomes
from alpharay.serve.evaluate.search import rounds
from alpharay.serve.evaluate.search.members import member_of
from alpharay.serve.evaluate.search.picture import draw
from alpharay.serve.evaluate.search.report import PICTURE, write_report
from alpharay.serve.evaluate.search.rounds import Searched, run_search
from alpharay.serve.portfolio_file import read_portfolio
from alpharay.serve.span import AdapterCheckpoint
from alpharay.serve.state.members import ServedMember
from alpharay.serve.transport.asgi import Reply

NAMES = ("init", "low", "high")
PROBLEMS = [
    {"id": f"p{n}", "prompt": f"{n}", "tests": {"kind": "stdio", "cases": [{"input": "", "output": "1"}]}}
    for n in range(16)
]


class Killed(Exception):
    """What ends a search that is killed."""


class Engines:
    """Answers with `member seed`; after `most` samples it is killed. starts: how often engines were started."""

    def __init__(self, most=None):
        self.most, self.drawn, self.starts = most, [], 0

    async def sample(self, member, _path, body, _headers):
        if len(self.drawn) == self.most:
            raise Killed
        request = json.loads(body.whole())
        self.drawn.append((member, request["messages"][0]["content"], request["seed"]))
        answer = {
            "choices": [
                {"message": {"content": f"{member} {request['messages'][0]['content']} {request['seed']}"}}
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 9},
        }
        return Reply(200, "application/json", json.dumps(answer).encode())


class JudgeClient:
    """Half of the problems are solved at one point of the plane, half at another."""

    def __init__(self, points, fails_at=None):
        self.points, self.fails_at = points, fails_at

    async def judge(self, _tests, completion, *_):
        member, problem, _ = completion.split()
        if (member, problem) == self.fails_at:
            return Verdict(VerdictKind.JUDGE_ERROR, 0, 1)
        weights = self.points[member]
        centre = {"low": 0.5, "high": 0.5} if int(problem) % 2 else {"low": -0.5, "high": 0.5}
        distance = sum((weights.get(name, 0) - middle) ** 2 for name, middle in centre.items())
        solved = "random" not in weights and Random(completion).random() < 0.5 * 2 ** (-12 * distance)
        return Verdict(VerdictKind.ACCEPTED if solved else VerdictKind.WRONG_ANSWER, int(solved), 1)


def searched(folder, **more):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.parent / "problems.jsonl"
    file.write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS))
    baselines = {"baselines": ("random",)}
    plan = SearchPlan(
        points=lattice(3), problems=len(PROBLEMS), budgets=(1, 5), total=6_000, finalists=5,
        kept=tuple(checkpoint(n, 3) for n in range(3)), **baselines | more,
    )  # fmt: skip
    checkpoints = {name: Path(name) for name in (*NAMES, "random")}
    config = Config(
        checkpoints={name: Path(name) for name in NAMES},
        members=(0.5,),
        router={"policy": "uniform", "budget": 5},
    )
    return Searched(
        config=config, plan=plan, names=NAMES, checkpoints=checkpoints, folder=folder, problems_file=file,
        problems=[parse_problem(problem) for problem in PROBLEMS],
    )  # fmt: skip


def run(monkeypatch, settings, engines=None, fails_at=None):
    engines = engines or Engines()

    @contextmanager
    def hosted(config, *_):
        engines.starts += 1
        points = {f"{config.name}@{point.name}": point.weights for point in config.points}
        members = tuple(
            ServedMember(
                name=f"{config.name}@{point.name}", alpha=point.alpha, sha256="", weights=point.weights
            )
            for point in config.points
        )

        @asynccontextmanager
        async def clients():
            yield engines, JudgeClient(points, fails_at)

        yield SimpleNamespace(members=members, clients=clients)

    monkeypatch.setattr(rounds, "hosted", hosted)
    monkeypatch.setattr(sampling, "_PATIENCE_S", 0.0)
    return run_search(settings, lambda _: None, lambda _: None), engines


def test_a_search_that_was_killed_draws_the_rest_and_comes_to_the_same(monkeypatch, tmp_path):
    whole, engines = run(monkeypatch, searched(tmp_path / "a"))
    killed = Engines(most=2_000)
    with pytest.raises(BaseExceptionGroup):
        run(monkeypatch, searched(tmp_path / "b"), killed)
    again, rest = run(monkeypatch, searched(tmp_path / "b"))
    assert len(killed.drawn) + len(rest.drawn) == len(engines.drawn) == whole.recorded
    assert set(killed.drawn) | set(rest.drawn) == set(engines.drawn)
    assert measured(again) == measured(whole)
    assert len(read_outcomes(tmp_path / "b/outcomes.parquet")) == whole.recorded


def test_engines_start_once_although_the_first_round_adds_points(monkeypatch, tmp_path):
    settings = searched(tmp_path / "a")
    search, engines = run(monkeypatch, settings)
    assert search.samples.keys() > {*settings.plan.points, *settings.plan.baselines}
    assert engines.starts == 1


def test_adapters_take_room_in_the_engine_and_are_added_by_a_second_start(monkeypatch, tmp_path):
    settings = searched(tmp_path / "a", baselines=())
    checkpoints = {"init": Path("init")} | {
        name: AdapterCheckpoint(adapter=Path(name), base="init") for name in ("low", "high")
    }
    config = Config(checkpoints=checkpoints, members=(0.5,), hosting="adapters")
    search, engines = run(monkeypatch, replace(settings, config=config, checkpoints=checkpoints))
    assert search.samples.keys() > set(settings.plan.points)
    assert engines.starts == 2


def test_samples_that_the_judge_failed_at_count_neither_way_and_are_drawn_again_by_the_next_search(
    monkeypatch, tmp_path
):
    settings = searched(tmp_path / "a")
    init = checkpoint(0, 3)
    first, _ = run(monkeypatch, settings, fails_at=("frontier@init", "3"))
    samples, _ = first.counts([init])
    assert samples[:, 0].tolist() == [0 if n == 3 else first.samples[init] for n in range(len(PROBLEMS))]
    again, engines = run(monkeypatch, settings)
    drawn = [draw for draw in engines.drawn if draw[:2] == ("frontier@init", "3")]
    assert len(drawn) == first.samples[init]
    assert (again.counts([init])[0] == again.samples[init]).all()


def test_what_is_found_is_ready_to_serve(monkeypatch, tmp_path):
    settings = searched(tmp_path / "a")
    search, _ = run(monkeypatch, settings)
    result = measured(search)
    write_report(settings, search, result, settings.folder)
    draw(settings, search, result, settings.folder / PICTURE)
    config = configuration.load(settings.folder / "frontier.yaml")
    members = [f"frontier@{point.name}" for point in config.points]
    assert {"frontier@0.5", "frontier@init1_low-0.5_high0.5"} & set(members)
    assert len(members) <= 5
    assert config.router.policy == "portfolio"  # although the configuration that was searched had another
    assert config.router.budget == 5
    portfolio = read_portfolio(config.router.portfolio, members)
    assert set(portfolio.schedule) == set(members)
    report = json.loads((settings.folder / "report.json").read_text())
    assert report["gain"]["5"]["low"] > 0
    assert report["advice"].startswith("Several points pay: with 5 samples")
    assert report["alone"]["frontier@random"]["5"] == 0
    assert report["samples"] == search.recorded <= 6_000
    assert report["advice"] in (settings.folder / "report.md").read_text()
    assert (settings.folder / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_a_baseline_is_never_served(monkeypatch, tmp_path):
    settings = searched(tmp_path / "a")
    search, _ = run(monkeypatch, settings)
    write_report(settings, search, measured(search), settings.folder)
    assert "random" not in yaml.safe_load((settings.folder / "frontier.yaml").read_text())["checkpoints"]


@pytest.mark.parametrize(
    ("point", "names", "name"),
    [
        ((0.0, 0.25, 0.75), NAMES, 0.75),
        ((0.0, 0.0, 1.0), NAMES, 1.0),
        ((1.0, 0.0, 0.0), NAMES, "init"),
        ((0.75, -0.25, 0.5), NAMES, "init0.75_low-0.25_high0.5"),
        ((0.5, 0.5), ("7b", "8b"), "p7b0.5_8b0.5"),
        ((0.5, 0.5), ("a" * 40, "b" * 40), None),
    ],
)
def test_members_are_named_after_their_weights(point, names, name):
    member = member_of(point, names)
    config = Config(checkpoints={each: Path(each) for each in names}, members=(member,))
    if name is not None:
        assert config.points[0].name == (name if isinstance(name, str) else f"{name:g}")
    assert (
        dict(config.points[0].weights) == {n: w for n, w in zip(names, point, strict=True) if w}
        or name == 1.0
    )


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            ["--samples", "100"],
            "100 samples are too few: one of each of 18 points and 1 baselines on 16 problems",
        ),
        (["--samples", "9999", "--checkpoints", "low", "hihg"], "no checkpoint 'hihg'; did you mean 'high'?"),
        (["--samples", "9999", "--checkpoints", "low"], "a search needs between 2 and 8 checkpoints, got 1"),
        (
            ["--samples", "9999", "--checkpoints", "low", "high", "--baseline", "low"],
            "'low' is combined already",
        ),
        (["--samples", "9999", "--bounds", "0.2,1"], "the first at most 0 and the second at least 1"),
        (["--samples", "9999", "--k", "0"], "must be a whole number from 1 to 1000000000, got '0'"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(options, error, tmp_path, capsys):
    settings = searched(tmp_path / "a")
    config = tmp_path / "frontier.yaml"
    config.write_text("checkpoints: {init: init, low: low, high: high}\nmembers: [0.5]\n")
    try:
        code = main.main(
            ["search", str(settings.problems_file), str(config), "--out", str(tmp_path / "o"), *options]
        )
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert error in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_frontier_of_the_lines_end_alone_names_both_checkpoints(monkeypatch, tmp_path):
    """A member on low..high is one by both, also where it is an end of it."""
    settings = searched(tmp_path / "a")
    search, _ = run(monkeypatch, settings)
    result = replace(measured(search), recommended=((0.0, 0.0, 1.0),) * 3, point=(0.0, 0.0, 1.0))
    write_report(settings, search, result, settings.folder)
    config = configuration.load(settings.folder / "frontier.yaml")
    assert [point.name for point in config.points] == ["1"]


def test_a_folder_of_another_search_is_not_gone_on_with(monkeypatch, tmp_path):
    run(monkeypatch, searched(tmp_path / "a"))
    other = replace(searched(tmp_path / "a"), options={"temperature": 0.5})
    with pytest.raises(OutcomesError, match="with another options"):
        run(monkeypatch, other)
    again = searched(tmp_path / "a")
    again.problems_file.write_text("{}")
    with pytest.raises(OutcomesError, match="of other problems"):
        run(monkeypatch, again)


def test_a_search_draws_exactly_what_it_asks_for_though_the_judge_fails(monkeypatch, tmp_path):
    search, engines = run(monkeypatch, searched(tmp_path / "a"), fails_at=("frontier@init", "3"))
    assert len(engines.drawn) == search.recorded <= 6_000


@pytest.mark.parametrize("names", [("1b", "p1b"), ("a", "b", "a0.5_b0.5")])
def test_checkpoints_whose_points_would_share_a_name_are_refused(names, tmp_path, capsys):
    settings = searched(tmp_path / "a")
    config = tmp_path / "frontier.yaml"
    members = [{"name": "x", "weights": {names[0]: 1.0}}]
    config.write_text(yaml.safe_dump({"checkpoints": {name: name for name in names}, "members": members}))
    options = ["--out", str(tmp_path / "o"), "--samples", "9999", "--no-random"]
    assert main.main(["search", str(settings.problems_file), str(config), *options]) == 2
    assert "two points would both be named" in capsys.readouterr().err
