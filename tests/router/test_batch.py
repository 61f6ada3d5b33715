"""One budget over many problems: lockstep, a pass ends a problem, nothing is drawn twice."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.router import Member
from alpharay.router.batch import Batch, BatchDraw, BatchPlan
from alpharay.router.learn.expected import expected_uniform

MEMBERS = ("a", "b")


def batch(problems=4, budget=1000, **more):
    return Batch(BatchPlan(**{"members": MEMBERS, "problems": problems, "budget": budget, **more}))


def run(todo, passes, at_once=1):
    """Every draw in order. passes: of a draw, whether it passes."""
    drawn = []
    while draws := todo.draws(at_once):
        drawn += draws
        for draw in draws:
            todo.record(draw, passes(draw))
    return drawn


def never(_draw):
    return False


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_no_problem_is_more_than_a_wave_ahead_of_another_that_is_open(at_once):
    todo = batch(problems=5, budget=62)
    counts = Counter()
    while draws := todo.draws(at_once):
        for draw in draws:
            counts[draw.problem] += 1
            todo.record(draw, passed=False)
        had = [counts[problem] for problem in range(5)]
        assert max(had) - min(had) <= max(1, min(had))
    assert counts.total() == 62
    assert max(counts.values()) - min(counts.values()) <= max(1, 62 // 5)


def test_a_problem_ends_at_its_pass_and_the_others_have_what_it_did_not_use():
    drawn = run(batch(problems=2, budget=20), lambda draw: draw.problem == 0)
    assert Counter(draw.problem for draw in drawn) == {0: 1, 1: 19}


def test_more_passes_may_be_asked_for():
    drawn = run(batch(problems=2, budget=100, passes=3), lambda draw: draw.problem == 0)
    assert Counter(draw.problem for draw in drawn)[0] == 3


def test_a_problem_gets_no_more_than_its_most():
    assert len(run(batch(problems=3, most_per_problem=5), never, at_once=7)) == 15


def test_samples_follow_the_schedule_of_each_problem():
    drawn = run(batch(problems=2, budget=8, schedule=("b", "a", "a", "b")), never)
    for problem in range(2):
        assert [draw.member for draw in drawn if draw.problem == problem] == ["b", "a", "a", "b"]


def test_without_a_schedule_first_samples_go_round_and_later_ones_to_who_solves():
    todo = batch(problems=60, budget=60 * 20)
    drawn = run(todo, lambda draw: draw.member == "b" and (draw.problem + draw.sample) % 12 == 0)
    assert Counter(draw.member for draw in drawn[:60]) == {"a": 30, "b": 30}
    later = Counter(draw.member for draw in drawn[120:])
    assert later["b"] > 3 * later["a"]


def test_engines_are_kept_full_while_problems_are_open():
    todo = batch(problems=8)
    under_way = list(todo.draws(6))
    while len(under_way) == 6:
        todo.record(under_way.pop(0), passed=False)
        under_way += todo.draws(6)
        assert todo.under_way == len(under_way) == 6
        if todo.spent > 200:
            break
    assert todo.spent > 200


def test_a_pass_among_the_last_problems_wastes_at_most_half_of_its_samples():
    todo = batch(problems=1)
    finished = 0
    while finished < 100:
        draws = todo.draws(64)
        assert todo.under_way <= max(1, finished)
        for draw in draws:
            todo.record(draw, passed=False)
        finished += len(draws)


def test_a_lost_draw_goes_back_into_the_budget_and_is_the_next_of_its_member():
    todo = batch(problems=1, budget=3, schedule=("a", "b"))
    (first,) = todo.draws(1)
    todo.lost(first)
    assert run(todo, never)[0] == first
    assert todo.spent == 3


def test_what_cannot_be_judged_is_spent_and_is_no_pass():
    todo = batch(problems=1, budget=4)
    while draws := todo.draws(1):
        todo.record(draws[0], passed=None)
    assert (todo.spent, todo.solved) == (4, 0)


@given(st.integers(0, 60), st.integers(0, 10_000))
def test_a_batch_that_was_killed_draws_nothing_twice_and_spends_its_budget(killed_at, seed):
    dice = random.Random(seed)
    solves = {(p, m, s) for p in range(6) for m in MEMBERS for s in range(60) if dice.random() < 0.05}

    def passes(draw):
        return (draw.problem, draw.member, draw.sample) in solves

    first, done = batch(problems=6, budget=80), {}
    under_way = []
    while len(done) < killed_at and (under_way := under_way + first.draws(5)):
        draw = under_way.pop(dice.randrange(len(under_way)))
        done[draw] = passes(draw)
        first.record(draw, passed=done[draw])
    second = batch(problems=6, budget=80)
    for draw in sorted(done, key=lambda draw: (draw.member, draw.sample), reverse=dice.random() < 0.5):
        second.recall(draw, passed=done[draw])
    rest = run(second, passes, at_once=5)
    whole = [*done, *rest]
    assert len(set(whole)) == len(whole) <= 80
    assert second.spent == len(whole)
    assert len(whole) == 80 or not second.open


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"problems": 0}, "at least one member and one problem"),
        ({"budget": 0}, "budget must be at least 1"),
        ({"schedule": ("c",)}, "'c'"),
        ({"price": -1.0}, "price of a token"),
        ({"price": float("nan")}, "price of a token"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(wrong, why):
    with pytest.raises(ValueError, match=why):
        batch(**wrong)


def priced(todo, passes, tokens=100):
    """Every draw in order, each at so many tokens."""
    drawn = []
    while draws := todo.draws(8):
        drawn += draws
        for draw in draws:
            todo.record(draw, passes(draw), tokens)
    return drawn


@pytest.mark.parametrize("price", [0.0001, 0.0005])
def test_at_a_price_the_batch_ends_where_the_next_sample_is_not_worth_its_tokens(price):
    chances = np.random.default_rng(0).beta(0.5, 3, 200)

    def passes(draw):
        return random.Random(f"{draw}").random() < chances[draw.problem]

    free = Counter(draw.problem for draw in priced(batch(problems=200, budget=20_000), passes))
    todo = batch(problems=200, budget=20_000, price=price)
    had = Counter(draw.problem for draw in priced(todo, passes))
    assert had.total() < free.total() == 20_000
    assert not todo.open
    # Of these problems a sample passes with chance 0.5 / (3.5 + failures).
    expected = 0.5 / (100 * price) - 3.5
    assert 0.8 * expected < max(had.values()) < 2 * expected  # a little hopeful
    assert all(had[problem] <= free[problem] for problem in range(200))


def test_what_was_drawn_before_is_weighed_at_the_price_too():
    todo = batch(problems=4, budget=1000, price=0.001)
    for problem in range(4):
        for sample in range(30):
            todo.recall(BatchDraw(problem, "a", sample), passed=False, tokens=100)
    assert todo.draws(8) == []
    assert not todo.open


def test_draws_of_an_earlier_run_leave_no_gap_in_the_numbers():
    todo = batch(problems=1, budget=5, schedule=("a",))
    todo.recall(BatchDraw(0, "a", 2), passed=False)
    assert [draw.sample for draw in run(todo, never)] == [0, 1, 3, 4]


def test_what_uniform_sampling_would_solve_is_estimated_from_what_another_order_drew():
    rng = np.random.default_rng(0)
    members = tuple(Member(name=name, alpha=float(number)) for number, name in enumerate(MEMBERS))
    rates = np.stack([rng.beta(0.5, 3, 200), rng.beta(0.5, 12, 200)], axis=1)
    counts = np.zeros((200, 2, 3), dtype=np.int64)
    todo = batch(problems=200, budget=2000, schedule=("a", "a", "b"))
    while draws := todo.draws(16):
        for draw in draws:
            passed = bool(rng.random() < rates[draw.problem, MEMBERS.index(draw.member)])
            counts[draw.problem, MEMBERS.index(draw.member), 0 if passed else 1] += 1
            todo.record(draw, passed)
    true = []
    for _ in range(20):
        uniform, spent, turn = np.zeros(200, dtype=bool), 0, 0
        while spent < 2000:
            for problem in np.flatnonzero(~uniform):
                uniform[problem] = rng.random() < rates[problem, (problem + turn) % 2]
                spent += 1
                if spent == 2000:
                    break
            turn += 1
        true.append(uniform.sum())
    assert expected_uniform(members, counts, [2000]) == [pytest.approx(np.mean(true), rel=0.06)]
