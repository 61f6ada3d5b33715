"""What the package carries: as small as promised, as its card says, and told apart by set."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import json
import re
from pathlib import Path

import numpy as np
import pytest

from alpharay.judge import parse_problem
from alpharay.router.passk import failure_curve
from bench.frontier.embed import hashes
from bench.frontier.figures import Set, read
from bench.frontier.kinds import best_by_family, by_family, by_kind, kinds_of, solved_by
from bench.frontier.model import load_checkpoint
from bench.frontier.parts.draw import PROBLEM_SEED
from bench.frontier.parts.draw import pairs as two_parts
from bench.frontier.parts.draw import split_of as parts_split_of
from bench.frontier.parts.embed import adopt as adopt_parts
from bench.frontier.problems.draw import FAMILIES, HELD_OUT, shuffled, split_of
from bench.frontier.report import BEGIN, END, gain, line_of, members_table

EMBEDDED = Path(str(importlib.resources.files("alpharay.serve") / "embedded"))
PARTS = EMBEDDED / "parts"
ROOT = Path(__file__).resolve().parents[2]
SETS = {
    "problems": "test",
    "problems-validation": "validation",
    "problems-heldout": "test",
    "problems-train": "train",
}


def raws(name):
    return [json.loads(line) for line in (EMBEDDED / f"{name}.jsonl").read_text().splitlines()]


def test_all_of_it_is_at_most_25_mb():
    assert sum(file.stat().st_size for file in EMBEDDED.rglob("*") if file.is_file()) <= 25e6


@pytest.mark.parametrize("folder", [EMBEDDED, PARTS], ids=["contest", "parts"])
def test_the_card_names_every_weight_and_problem_file_of_its_frontier_with_its_hash(folder):
    card = (folder / "README.md").read_text()
    card_hashes = dict(re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", card, re.MULTILINE))
    files = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.suffix in {".safetensors", ".jsonl"} or file.name == "tokenizer.json"
        if folder == PARTS or PARTS not in file.parents
    }
    assert card_hashes == files
    assert {"init/model.safetensors", "low/model.safetensors", "high/model.safetensors"} <= files.keys()
    assert hashes(folder) in card
    assert "Apache-2.0" in card


@pytest.mark.parametrize("folder", [EMBEDDED, PARTS], ids=["contest", "parts"])
def test_the_endpoints_differ_from_the_start_and_from_each_other(folder):
    models = [load_checkpoint(folder / name) for name in ("init", "low", "high")]
    for index in range(3):
        for other in range(index):
            pairs = zip(models[index].parameters(), models[other].parameters(), strict=True)
            assert any(not a.equal(b) for a, b in pairs)


@pytest.mark.parametrize(
    ("name", "split", "prompts"), [("problems", "test", 80), ("problems-validation", "validation", 40)]
)
def test_problems_of_two_parts_are_those_that_were_evaluated_and_stay_in_their_set(name, split, prompts):
    raws = [json.loads(line) for line in (PARTS / f"{name}.jsonl").read_text().splitlines()]
    assert [raw["parts"] for raw in raws] == [2] * (2 * prompts)
    assert {parts_split_of(parse_problem(raw).prompt) for raw in raws} == {split}
    assert raws[:12] == two_parts(2, prompts, PROBLEM_SEED, split)[:12]
    kept = gzip.decompress(
        (ROOT / f"bench/results/frontier/parts-{split}.jsonl.gz").read_bytes()
    ).splitlines()
    assert {json.dumps(raw) for raw in raws} >= {
        line.decode() for line in kept if json.loads(line)["parts"] == 2
    }


def test_the_schedule_for_two_parts_is_the_one_that_recorded_validation_problems_choose(tmp_path):
    for name in ("frontier.yaml", "init", "low", "high"):
        (tmp_path / name).symlink_to(PARTS / name)
    (tmp_path / "portfolio.yaml").write_text("schedule: [{frontier@0: 1}]")
    adopt_parts(ROOT / "bench/results/frontier", tmp_path, 1)
    assert (tmp_path / "portfolio.yaml").read_text() == (PARTS / "portfolio.yaml").read_text()


@pytest.mark.parametrize("name", list(SETS))
def test_every_set_holds_problems_of_its_own(name):
    families = {raw["family"] for raw in raws(name)}
    assert families <= (HELD_OUT if name == "problems-heldout" else FAMILIES).keys()
    for raw in raws(name):
        assert split_of(parse_problem(raw).prompt) == SETS[name]


def test_the_test_problems_are_those_that_the_generator_draws():
    assert raws("problems")[:48] == shuffled(list(FAMILIES), 2, "test")[:48]


def test_a_report_replaces_what_stands_between_its_markers_and_nothing_else(tmp_path, monkeypatch):
    from bench.frontier import report

    monkeypatch.setattr(report, "section", lambda seed, _: f"seed {seed}\n")
    page = tmp_path / "results.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for seeds in ([1], [1, 2]):
        report.write(seeds, tmp_path, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert (text.count("seed 1"), text.count("seed 2")) == (1, 1)


def test_the_tables_count_what_the_outcomes_say(tmp_path):
    from alpharay.serve.evaluate.outcomes import SCHEMA, read_outcomes, write_outcomes

    rows = []
    for problem, passes in (("p", 3), ("q", 0)):
        for member, alpha in (("frontier@0", 0.0), ("init", None)):
            for at in range(4):
                verdict = (
                    "accepted"
                    if at < passes and alpha is not None
                    else ("time_limit" if at == 3 else "wrong_answer")
                )
                rows.append((problem, member, alpha, at, 1, verdict, None, 1, 9, 10, 20, 0.01, f"{at}"))
    write_outcomes(
        tmp_path / "o.parquet", {name: [row[n] for row in rows] for n, name in enumerate(SCHEMA.names)}
    )
    data = read(read_outcomes(tmp_path / "o.parquet"))
    assert line_of(data) == ["frontier@0"]
    assert data.alone("frontier@0", 1).tolist() == [0.75, 0.0]
    assert data.alone("frontier@0", 2).tolist() == [1.0, 0.0]
    assert "| `frontier@0` | 37.5 | 37.5 | 25.0 |" in members_table(data, ["frontier@0"])
    assert "| `init` | 0.0 | 75.0 | 25.0 |" in members_table(data, ["init"])
    assert gain(data.alone("frontier@0", 1) * 0 + 0.1) == "+10.0 [+10.0, +10.0]"


def counted(members, table):
    """A Set of problems under members, from (samples, solved) of each."""
    counts = np.array(table)
    samples = int(counts[..., 0].min())
    return Set(
        names=members,
        alphas=tuple(float(n) for n in range(len(members))),
        budgets=tuple(k for k in (1, 2) if k <= samples),
        failures=failure_curve(counts[..., 0], counts[..., 1], samples),
        counts=counts,
        incorrect=counts[..., 1] * 0.0,
        inefficient=counts[..., 1] * 0.0,
    )


def test_problems_are_sorted_by_which_of_two_members_solved_them():
    data = counted(("a", "b"), [[(4, 1), (4, 2)], [(4, 3), (4, 0)], [(4, 0), (4, 1)], [(4, 0), (4, 0)]])
    by_solver = {label: list(np.flatnonzero(chosen)) for label, chosen in solved_by(data, "a", "b").items()}
    assert by_solver == {"both": [0], "only `a`": [1], "only `b`": [2], "neither": [3]}


def test_the_alpha_of_a_family_is_chosen_on_its_validation_problems_alone():
    validation = counted(("a", "b"), [[(4, 4), (4, 0)], [(4, 0), (4, 2)], [(4, 0), (4, 0)]])
    test = counted(("a", "b"), [[(4, 2), (4, 4)], [(4, 2), (4, 4)], [(4, 1), (4, 3)]])
    chances = best_by_family(validation, test, (["x", "y", "z"], ["y", "x", "z"]), ("a", "b"), 1)
    assert chances.tolist() == [
        1.0,
        0.5,
        0.25,
    ]  # z: nobody solved it, so the member that is best on all families


def test_problems_of_every_kind_and_family_are_told_apart():
    kinds = kinds_of(EMBEDDED / "problems.jsonl")
    names = list(kinds)
    chosen = by_kind(kinds, names)
    assert sum(each.astype(int) for each in chosen.values()).tolist() == [1] * len(names)
    values = np.array([[float(kinds[name].large), 0.5] for name in names])
    families, means = by_family(kinds, names, values)
    assert sorted(families) == sorted(FAMILIES)
    assert (np.diff(means[:, 0]) <= 0).all()
