"""The search as a state machine: within its total, deterministic, resumable, and not fooled by luck."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from alpharay.router.search.halving import Search, SearchPlan
from alpharay.router.search.nested import measured
from alpharay.router.search.points import checkpoint, lattice, neighbours, within

PROBLEMS = 32


def plan(**more):
    options = {
        "points": lattice(3), "problems": PROBLEMS, "budgets": (1, 10, 50), "total": 12_000,
        "kept": tuple(checkpoint(number, 3) for number in range(3)), "baselines": ("random",),
    }  # fmt: skip
    return SearchPlan(**options | more)


def plane(draw):
    """Half of the problems are solved near one point of the plane, half near another; the baseline solves nothing."""
    if isinstance(draw.subject, str):
        return 0.0
    centre = (0.5, 0.5) if draw.problem % 2 else (-0.25, 0.75)
    distance = sum((weight - middle) ** 2 for weight, middle in zip(draw.subject[1:], centre, strict=True))
    return 0.3 * np.exp(-8 * distance)


def alike(draw):
    return 0.2 if draw.problem % 3 else 0.01


def sure_or_various(draw):
    """Near one checkpoint half of the problems are solved often and the others never, near another all now and then."""
    if isinstance(draw.subject, str):
        return 0.0
    sure = min(max(draw.subject[2], 0.0), 1.0)
    often, now_and_then = (0.0, 0.06) if draw.problem % 2 else (0.35, 0.1)
    return sure * often + (1 - sure) * now_and_then


def outcome(draw, chance, seed=0):
    return Random(f"{seed} {draw.subject} {draw.problem} {draw.sample}").random() < chance(draw)


def run(search, chance, most=None):
    """Returns what was drawn. most: draws after which it is killed."""
    drawn = []
    while draws := search.draws():
        for draw in draws:
            if most is not None and len(drawn) == most:
                return drawn
            drawn.append(draw)
            search.record(draw, outcome(draw, chance, search.plan.seed))
    return drawn


def test_points_sum_to_one_and_stay_within_the_bounds():
    points = lattice(3)
    assert points[:3] == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert len(set(points)) == len(points) == 18  # 21 of that sum, less the three that have a weight of 2
    for point in (*points, *neighbours((0.5, 0.0, 0.5), 0.25)):
        assert sum(point) == pytest.approx(1)
        assert within(point, (-0.5, 1.5))


def test_of_four_checkpoints_a_search_begins_with_two_at_a_time_and_comes_to_all_four():
    begun = lattice(4)
    assert len(begun) == 22  # the checkpoints, and of each of six pairs the middle and a step beyond either
    assert all(sum(weight != 0 for weight in point) <= 2 for point in begun)
    reached = {point for first in begun for point in neighbours(first, 0.25)}
    assert {3, 4} <= {sum(weight != 0 for weight in point) for point in reached}


def test_many_checkpoints_are_searched_at_some_points_and_at_each_checkpoint():
    points = lattice(6, most=40, seed=3)
    assert len(points) == 40
    assert {checkpoint(number, 6) for number in range(6)} <= set(points)
    assert points == lattice(6, most=40, seed=3) != lattice(6, most=40, seed=4)


def test_a_search_stays_within_its_total_and_draws_nothing_twice():
    search = Search(plan())
    drawn = run(search, plane)
    assert len(set(drawn)) == len(drawn)
    assert 9_000 < len(drawn) <= 12_000


def test_a_search_that_was_killed_draws_the_rest_and_comes_to_the_same():
    whole = Search(plan())
    drawn = run(whole, plane)
    first = run(Search(plan()), plane, most=5_000)
    again = Search(plan())
    for draw in first:
        again.record(draw, outcome(draw, plane))
    rest = run(again, plane)
    assert not set(first) & set(rest)
    assert set(first) | set(rest) == set(drawn)
    assert measured(again) == measured(whole)


def test_what_the_run_over_all_problems_did_not_come_to_it_takes_from_the_others():
    search = Search(plan(total=30_000))
    run(search, plane)
    best = search.finalists()[0]
    search._rounds.alive[-1] = tuple(point for point in search._rounds.alive[-1] if point != best)
    assert any(best in alive for alive in search._rounds.alive.values())
    assert search.finalists()[0] == best
    search._rounds.alive[0] = tuple(point for point in search._rounds.alive[0] if point != best)
    assert best not in search.finalists(0)


def test_a_search_finds_the_points_that_nobody_trained():
    search = Search(plan(total=30_000))
    run(search, plane)
    result = measured(search)
    near = [min(sum((a - b) ** 2 for a, b in zip(p[1:], c, strict=True)) for p in set(result.recommended[:10]))
            for c in ((0.5, 0.5), (-0.25, 0.75))]  # fmt: skip
    assert max(near) <= 0.13
    assert result.gain[10][1] > 0
    assert not result.one_suffices
    assert result.subjects["random"][10] == 0
    best = max(result.subjects[checkpoint(number, 3)][10] for number in range(3))
    assert result.schedule[10] > best + 0.1


def verdicts(chance, seeds=10, **more):
    """How often of so many searches several points pay."""
    paid = 0
    for seed in range(seeds):
        search = Search(plan(seed=seed, **more))
        run(search, chance)
        paid += not measured(search).one_suffices
    return paid


def test_where_all_points_are_alike_one_suffices_but_for_one_search_in_twenty():
    assert verdicts(alike) <= 1


def test_where_no_point_is_the_best_at_every_number_of_samples_several_pay():
    assert verdicts(sure_or_various, seeds=4, total=40_000) >= 3


def test_where_all_points_are_alike_none_looks_better_than_it_is():
    search = Search(plan())
    run(search, alike)
    result = measured(search)
    assert set(result.gain) == {1, 10}  # 13 samples of each point cannot tell of 50
    assert result.per_budget[1] == pytest.approx(0.137, abs=0.03)


def test_samples_that_could_not_be_judged_count_neither_way():
    search = Search(plan())
    for draw in search.draws():
        search.record(draw, None if draw.sample else outcome(draw, alike))
    search.draws()
    samples, _ = search.counts(search.plan.points[:1])
    assert (samples >= 1).all()


def test_too_few_samples_are_refused_with_the_number_that_it_takes():
    with pytest.raises(ValueError, match=r"100 samples are too few: .* takes 2432"):
        plan(total=100)


def test_points_that_the_total_left_no_samples_for_are_never_chosen():
    least = plan(problems=8, finalists=40, total=10**6).least
    search = Search(plan(problems=8, finalists=40, total=least))
    run(search, plane)
    assert all(search.samples[point] for point in search.finalists())
