"""The generated problems: what is judged is what is asked, for every family."""

from __future__ import annotations

import random
import re

import pytest

from alpharay.judge import parse_problem
from bench.frontier.problems.draft import CHOICE, resolve
from bench.frontier.problems.draw import FAMILIES, HELD_OUT, problems, sketch_for, split_of
from bench.frontier.verdicts import Judge, covered

EVERY = [*FAMILIES, *HELD_OUT]


def test_there_are_thirty_families_and_others_held_out():
    assert len(FAMILIES) >= 30
    assert len(HELD_OUT) >= 4
    assert not FAMILIES.keys() & HELD_OUT.keys()


@pytest.fixture(scope="module")
def drawn():
    """One problem of every family with high limits and one with low ones."""
    by_family = {}
    for family in EVERY:
        for raw in problems([family], 8, 3, "train"):
            by_family.setdefault((family, raw["large"]), raw)
    return by_family


def test_every_family_asks_for_low_and_for_high_limits(drawn):
    assert set(drawn) == {(family, large) for family in EVERY for large in (False, True)}


def test_every_problem_is_in_the_projects_format_with_four_nested_levels(drawn):
    for raw in drawn.values():
        problem = parse_problem(raw)
        assert [case.level for case in problem.tests.cases] == [1, 1, 2, 2, 2, 2, 3, 3, 4]
        sample = problem.tests.cases[0]
        assert problem.prompt.endswith(f"Sample input:\n{sample.input}Sample output:\n{sample.output}\n")


def test_the_judge_passes_fast_references_and_times_slow_ones_out_where_limits_are_high(drawn):
    """One judgement of each: the limits leave room of four times and more on either side."""
    raws = [raw for number, raw in enumerate(drawn.values()) if raw["large"] or number % 3 == 0]
    tests = [covered(raw, 4) for raw in raws]
    with Judge(workers=2) as judge:
        fast = judge.verdicts(
            [(each, raw["reference"]["fast"]) for each, raw in zip(tests, raws, strict=True)]
        )
        slow = judge.verdicts(
            [(each, raw["reference"]["simple"]) for each, raw in zip(tests, raws, strict=True)]
        )
    assert {raw["id"]: str(v.verdict) for raw, v in zip(raws, fast, strict=True)} == {
        raw["id"]: "accepted" for raw in raws
    }
    for raw, verdict in zip(raws, slow, strict=True):
        wanted = ("time_limit", 8) if raw["large"] else ("accepted", None)
        assert (verdict.verdict, verdict.failed_case) == wanted, raw["id"]


def test_the_same_seed_gives_the_same_problems_and_another_seed_others():
    families = EVERY[::7]
    first, second, other = (problems(families, 2, seed, "test") for seed in (5, 5, 6))
    assert first == second
    assert {raw["prompt"] for raw in first} != {raw["prompt"] for raw in other}


@pytest.mark.parametrize("seed", [1, 2])
def test_no_prompt_is_in_two_sets(seed):
    prompts = {
        split: {raw["prompt"] for raw in problems(EVERY[::5], 4, seed, split)}
        for split in ("train", "validation", "test")
    }
    for split, own in prompts.items():
        assert {split_of(prompt) for prompt in own} == {split}
        assert len(own) == 4 * len(EVERY[::5])


def test_every_choice_point_changes_the_program_and_what_it_leaves_parses():
    for family in FAMILIES:
        drawn = sketch_for("train", family, "choices")
        for way in (drawn.draft.simple, drawn.draft.fast):
            points = CHOICE.findall(way.body)
            assert points, f"{family}: nothing to get wrong"
            for point in points:
                alternatives = point.split("¦")
                assert len(alternatives) == 1 or len(set(alternatives)) > 1, f"{family}: {point}"
        for number in range(20):
            for way in ("simple", "fast"):
                compile(drawn.program(way, random.Random(number), 0.5), family, "exec")


def test_a_choice_point_is_right_as_often_as_asked():
    rng = random.Random(0)
    right = sum(resolve("⟦a¦b¦c⟧", rng, 0.7) == "a" for _ in range(4000)) / 4000
    assert 0.67 < right < 0.73
    assert resolve("x⟦a¦b⟧y⟦c⟧") == "xayc"


def test_programs_say_which_way_they_take():
    for family in FAMILIES:
        drawn = sketch_for("train", family, "ways")
        for way in ("simple", "fast"):
            assert re.match(rf"# {way} O\(.+\)\n", drawn.program(way))
