"""`import alpharay`: what a script, a notebook or a test can do without a server."""

import ast
import asyncio
import json
import subprocess
import sys
from importlib import invalidate_caches
from pathlib import Path

import pytest

import alpharay
from alpharay.judge import JudgeError
from alpharay.merge import MergeError
from alpharay.merge.errors import NotACheckpoint
from alpharay.router import POLICIES, SELECTORS
from alpharay.router.plugins import PluginError, Registry
from alpharay.serve.errors import ServeError, StartFailed
from tests.engine.blocks import blocks

TESTS = {
    "kind": "call",
    "entry_point": "double",
    "cases": [{"args": [2], "output": 4}, {"args": [0], "output": 0}],
}
RIGHT, WRONG = "def double(x): return 2 * x", "def double(x): return x"
HEAVY = ["vllm", "ray", "torch", "transformers", "numpy", "fastapi", "sqlalchemy", "pyarrow", "yaml"]
PAGE = [block for block in blocks() if block.page == "docs/python.md" and block.kind == "python"]


def by(block, word):
    return word in block.text


def test_importing_loads_nothing_heavy_and_dir_tells_what_there_is():
    script = f"import sys, json, alpharay; print(json.dumps([dir(alpharay), [n for n in {HEAVY} if n in sys.modules]]))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    names, loaded = json.loads(output)
    assert loaded == []
    assert {"merge", "judge", "AsyncJudge", "best_of", "Server", "AlpharayError", "__version__"} <= set(names)


@pytest.mark.parametrize("name", alpharay.__all__)
def test_every_name_is_there(name):
    assert getattr(alpharay, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'jugde'"):
        _ = alpharay.jugde


@pytest.mark.parametrize("error", [MergeError, JudgeError, ServeError, PluginError])
def test_there_is_one_tree_of_errors(error):
    assert issubclass(error, alpharay.AlpharayError)


def test_a_package_can_be_called_whatever_was_imported_before():
    script = "import alpharay.merge.command, alpharay.judge.command, alpharay; print(callable(alpharay.merge), callable(alpharay.judge))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["True", "True"]


def test_merging_takes_paths_as_text(tmp_path):
    with pytest.raises(NotACheckpoint, match="nothing-here"):
        alpharay.merge(
            low=str(tmp_path / "nothing-here"), high=str(tmp_path), alphas=[1], out=str(tmp_path / "out")
        )


def test_one_answer_gives_one_verdict_and_several_give_theirs_in_order():
    assert alpharay.judge(TESTS, RIGHT).accepted
    verdicts = alpharay.judge(TESTS, [WRONG, RIGHT], workers=1)
    assert [verdict.accepted for verdict in verdicts] == [False, True]


async def test_judging_works_where_an_event_loop_runs_already():
    assert alpharay.judge(TESTS, RIGHT, workers=1).accepted


@pytest.mark.parametrize(
    ("tests", "error"), [({"kind": "cal"}, "kind"), ({"kind": "call", "cases": []}, "entry_point")]
)
def test_malformed_tests_are_named(tests, error):
    with pytest.raises(alpharay.AlpharayError, match=error):
        alpharay.judge(tests, RIGHT)


@pytest.fixture
async def judge():
    async with alpharay.AsyncJudge(workers=1) as judging:
        yield judging


def sampler(answers, calls=None):
    async def sample(member, seed):
        if calls is not None:
            calls.append((member, seed))
        answer = answers[member]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return sample


async def test_the_best_is_the_one_that_passes(judge):
    best = await alpharay.best_of(sampler({"a": WRONG, "b": RIGHT}), ["a", "b"], TESTS, judge=judge)
    assert (best.member, best.accepted, best.stopped) == ("b", True, "passes")
    assert best.drawn == {"a": 1, "b": 1}


async def test_equal_seeds_ask_for_equal_draws(judge):
    runs = [[], []]
    for calls in runs:
        await alpharay.best_of(
            sampler({"a": WRONG, "b": WRONG}, calls), ["a", "b"], TESTS, budget=6, seed=3, judge=judge
        )
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 6


async def test_without_a_pass_the_budget_is_spent_and_the_best_failure_returned(judge):
    half = "def double(x): return 0"
    best = await alpharay.best_of(
        sampler({"a": WRONG, "b": half}), {"a": 0.0, "b": 1.0}, TESTS, budget=4, judge=judge
    )
    assert (best.stopped, sum(best.drawn.values()), best.accepted) == ("budget", 4, False)


async def test_a_lost_sample_is_drawn_from_another_member(judge):
    best = await alpharay.best_of(
        sampler({"a": TimeoutError(), "b": RIGHT}), ["a", "b"], TESTS, budget=2, judge=judge
    )
    assert best.member == "b"


async def test_any_other_error_of_the_sampler_is_its_callers(judge):
    with pytest.raises(KeyError):
        await alpharay.best_of(sampler({}), ["a"], TESTS, judge=judge)


async def test_what_is_not_needed_any_more_is_cancelled(judge):
    cancelled = []

    async def sample(member, seed):
        if member == "b":
            return RIGHT
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(member)
            raise

    # A deadline, since a reproducible answer waits for the draws before it.
    best = await alpharay.best_of(sample, ["b", "a"], TESTS, judge=judge)
    assert best.member == "b"
    assert cancelled == ["a"]


@pytest.mark.parametrize(
    "options", [{"policy": "unifrom"}, {"selector": "test"}, {"selector": "cluster"}, {"budget": 0}]
)
async def test_wrong_options_are_named(judge, options):
    with pytest.raises(ValueError, match=str(next(iter(options)))):
        await alpharay.best_of(sampler({"a": RIGHT}), ["a"], TESTS, judge=judge, **options)


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """An installed package whose entry points are the documentation's policy and selector, and a broken one."""
    page = next(block.text for block in PAGE if by(block, "class Alternate"))
    (tmp_path / "my_package.py").write_text(page)
    info = tmp_path / "my_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[alpharay.policies]\nalternate = my_package:Alternate\nbroken = my_package:Nothing\n"
        "[alpharay.selectors]\nshortest = my_package:shortest\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    for registry in (POLICIES, SELECTORS):
        monkeypatch.setattr(registry, "_builtin", dict(registry._builtin))
        monkeypatch.delitem(registry.__dict__, "_plugins", raising=False)
    yield
    for registry in (POLICIES, SELECTORS):
        registry.__dict__.pop("_plugins", None)


async def test_a_policy_and_a_selector_of_a_package_are_used_by_name(plugins, judge):
    best = await alpharay.best_of(
        sampler({"a": WRONG, "b": WRONG}), ["a", "b"], TESTS,
        budget=4, policy="alternate", selector="shortest", judge=judge,
    )  # fmt: skip
    assert best.drawn == {"a": 2, "b": 2}
    assert "alternate" in POLICIES
    assert "uniform" in POLICIES


def test_a_plug_in_that_cannot_be_loaded_is_named(plugins):
    with pytest.raises(PluginError, match="broken = my_package:Nothing of my-package"):
        POLICIES["broken"]


def test_a_plug_in_cannot_take_a_name_that_is_taken(plugins):
    with pytest.raises(PluginError, match="shortest"):
        dict(Registry("alpharay.selectors", {"shortest": None}))


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=str(block))
        for block in PAGE
        if not by(block, "Server") and not by(block, "merge(")
    ],
)
def test_a_documented_script_runs(block):
    done = subprocess.run([sys.executable, "-c", block.text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_documented_merge_runs(tmp_path, monkeypatch):
    block = next(block for block in PAGE if by(block, "merge("))
    for name in ("low", "high"):
        (tmp_path / name).symlink_to(Path(alpharay.__path__[0]).parent / "serve" / "embedded" / name)
    monkeypatch.chdir(tmp_path)
    exec(compile(ast.parse(block.text), "docs", "exec"), {})
    assert (tmp_path / "frontier" / "manifest.json").exists()


def test_a_server_that_does_not_start_says_why():
    with pytest.raises(StartFailed, match="budgett"):
        alpharay.Server({"router": {"budgett": 3}}).start()


def test_a_server_of_an_unknown_embedded_frontier_or_of_two_frontiers_is_refused():
    with pytest.raises(alpharay.AlpharayError, match="did you mean 'parts'"):
        alpharay.Server(embedded="part")
    with pytest.raises(alpharay.AlpharayError, match="name one of them"):
        alpharay.Server("frontier.yaml", embedded="parts")


def test_an_adapters_path_counts_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init = Path(alpharay.__file__).parents[1] / "serve" / "embedded" / "init"
    lost = {"adapter": "lost", "base": "init"}
    config = {
        "checkpoints": {"init": init, "lost": lost},
        "members": [{"name": "x", "weights": {"lost": 1}}],
    }
    with pytest.raises(StartFailed, match=f"checkpoints.lost: {tmp_path}/lost"):
        alpharay.Server(config).start()
