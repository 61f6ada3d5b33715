from itertools import product
from math import comb, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.router.portfolio import beta_over_problems, coverage, optimal_split, relaxed_weights, rounded


@st.composite
def recorded(draw, problems=6, members=4, samples=12):
    """counts [problems, members, 2] with the same n for each problem of a member."""
    rows, columns = draw(st.integers(1, problems)), draw(st.integers(1, members))
    n = draw(st.lists(st.integers(1, samples), min_size=columns, max_size=columns))
    solved = [[draw(st.integers(0, n[m])) for m in range(columns)] for _ in range(rows)]
    return np.array([[[n[m], solved[p][m]] for m in range(columns)] for p in range(rows)])


def by_hand(counts, split):
    chances = [
        1 - prod(comb(int(n - c), k) / comb(int(n), k) for (n, c), k in zip(row, split, strict=True))
        for row in counts
    ]
    return sum(chances) / len(chances)


def splits(members, budget):
    return [s for s in product(range(budget + 1), repeat=members) if sum(s) == budget]


@given(recorded(), st.data())
def test_coverage_is_the_formula(counts, data):
    split = [data.draw(st.integers(0, int(counts[0, m, 0]))) for m in range(counts.shape[1])]
    assert coverage(counts, split) == pytest.approx(by_hand(counts, split), abs=1e-9)


def test_coverage_is_the_share_of_draws_without_replacement_that_hold_a_solution():
    rng = np.random.default_rng(1)
    pools = [[True, False, False, False, False], [True, True, False, False, False, False, False]]
    counts = np.array([[[len(pool), sum(pool)] for pool in pools]])
    hits = [any(rng.permutation(pools[0])[:2]) or any(rng.permutation(pools[1])[:3]) for _ in range(20_000)]
    assert coverage(counts, [2, 3]) == pytest.approx(np.mean(hits), abs=0.015)


@given(recorded(members=3), st.integers(1, 9))
def test_no_split_of_the_budget_covers_more_than_the_best_found(counts, budget):
    split = optimal_split(counts, budget) * budget
    whole = np.rint(split).astype(int)
    assert np.allclose(split, whole, atol=1e-9)
    assert whole.sum() == budget
    every = max(coverage(counts, split_counts) for split_counts in splits(counts.shape[1], budget))
    assert coverage(counts, whole) >= every - 1e-9


@given(recorded(problems=12, members=6, samples=40), st.integers(1, 40))
def test_in_sample_no_single_member_and_no_uniform_split_covers_more(counts, budget):
    members = counts.shape[1]
    best = coverage(counts, rounded(optimal_split(counts, budget), budget))
    for other in [*np.eye(members), np.ones(members)]:
        assert best >= coverage(counts, rounded(other, budget)) - 1e-9


def test_the_fitted_beta_finds_the_one_that_the_chances_were_drawn_from():
    rng = np.random.default_rng(2)
    drawn = np.full(20_000, 16)
    solved = rng.binomial(drawn, rng.beta(0.6, 1.4, len(drawn)))
    assert beta_over_problems(drawn, solved) == pytest.approx((0.6, 1.4), rel=0.05)


@given(recorded(problems=12, members=4, samples=20), st.integers(1, 60))
def test_a_shrunk_split_spends_the_budget_also_beyond_what_was_recorded(counts, budget):
    split = optimal_split(counts, budget, shrunk=True) * budget
    assert np.allclose(split, np.rint(split), atol=1e-9)
    assert split.sum() == pytest.approx(budget)


def test_a_split_for_other_problems_is_better_shrunk_where_as_many_samples_are_asked_for_as_there_are():
    gains = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        # Members that differ in mean and in luck: 8 samples of 40 problems to choose by.
        level = rng.normal(-2, 1.5, (2000, 1))
        logits = level + np.array([0.0, 0.2, 0.4, 0.2, -0.4]) + rng.normal(0, 0.8, (2000, 5))
        chance = 1 / (1 + np.exp(-logits))
        solved = rng.binomial(8, chance[:40])
        counts = np.stack([np.full_like(solved, 8), solved], axis=-1)

        def covers(split, chance=chance):
            return np.mean(1 - np.prod((1 - chance[40:]) ** np.rint(8 * split), axis=1))

        gains.append(covers(optimal_split(counts, 8, shrunk=True)) - covers(optimal_split(counts, 8)))
    assert np.mean(gains) > 2 * np.std(gains) / 40**0.5


def test_a_member_that_solves_nothing_else_gets_nothing():
    # The second solves what the first does, less often; the third solves another problem.
    counts = np.array([[[20, 10], [20, 5], [20, 0]], [[20, 0], [20, 0], [20, 4]]])
    weights = optimal_split(counts, 10)
    assert weights[1] == 0
    assert weights[0] > 0
    assert weights[2] > 0


def test_one_member_that_dominates_gets_all():
    counts = np.array([[[20, 6], [20, 2]], [[20, 3], [20, 0]], [[20, 0], [20, 0]]])
    assert optimal_split(counts, 8).tolist() == [1, 0]


def test_nothing_solved_at_all_still_gives_a_split():
    assert optimal_split(np.array([[[5, 0], [5, 0]]]), 4).sum() == pytest.approx(1)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8), st.integers(1, 500))
def test_rounding_keeps_the_budget_and_stays_within_one(weights, budget):
    split = rounded(weights, budget)
    exact = np.array(weights) / sum(weights) * budget
    assert split.sum() == budget
    assert (np.abs(split - exact) < 1 + 1e-6).all()


@given(recorded(problems=10, members=3, samples=30), st.integers(1, 20))
def test_the_relaxation_is_maximised(counts, budget):
    def value(weights):
        share = np.minimum(counts[:, :, 1] / counts[:, :, 0], 1 - 1e-4)
        return np.mean(1 - np.prod((1 - share) ** (budget * np.asarray(weights)), axis=1))

    reached = value(relaxed_weights(counts, budget))
    grid = [np.array(s) / 10 for s in splits(counts.shape[1], 10)]
    assert reached >= max(value(weights) for weights in grid) - 1e-3


@pytest.mark.parametrize(
    ("counts", "message"),
    [([[[1, 2]]], "solved <= drawn"), ([[1, 2]], "shape"), ([[[1.5, 1.0]]], "whole numbers")],
)
def test_counts_that_cannot_be_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        optimal_split(counts, 3)
