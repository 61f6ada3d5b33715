"""Every formula against counting all the ways there are, in exact fractions."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.router import POLICIES, PolicyState
from alpharay.router.passk import (
    budgets_up_to,
    failure_curve,
    pass_at_k,
    split_failure,
    uniform_failure,
)

from .driver import frontier

EXACT = 1e-12


@st.composite
def counts(draw, most=8):
    n = draw(st.integers(1, most))
    return n, draw(st.integers(0, n))


def share_of_subsets(samples, k, wanted):
    """The share of all k-subsets of which `wanted` holds."""
    subsets = list(combinations(range(len(samples)), k))
    return Fraction(sum(wanted([samples[i] for i in subset]) for subset in subsets), len(subsets))


@given(counts(), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_pass(count, data):
    n, c = count
    k = data.draw(st.integers(0, n))
    exact = share_of_subsets([True] * c + [False] * (n - c), k, any)
    assert pass_at_k(n, c, k) == pytest.approx(float(exact), abs=EXACT)


@given(st.lists(counts(4), min_size=1, max_size=3), st.data())
def test_a_split_passes_as_often_as_its_members_subsets_do(members, data):
    split = [data.draw(st.integers(0, n)) for n, _ in members]
    ways = [
        list(combinations([True] * c + [False] * (n - c), k))
        for (n, c), k in zip(members, split, strict=True)
    ]
    outcomes = [any(any(subset) for subset in choice) for choice in product(*ways)]
    exact = sum(outcomes) / len(outcomes)
    n, c = zip(*members, strict=True)
    assert 1 - split_failure(failure_curve(n, c, 4), split) == pytest.approx(exact, abs=EXACT)


@pytest.mark.parametrize(("n", "c", "k"), [(10_000, 3, 250), (100_000, 2, 99_999), (1_000_000, 1, 12_345)])
def test_large_counts_stay_exact(n, c, k):
    exact = (
        1 - Fraction(comb(n - c, k), comb(n, k)) if k <= 20_000 else 1 - Fraction(comb(n - k, c), comb(n, c))
    )
    assert pass_at_k(n, c, k) == pytest.approx(float(exact), rel=1e-9)


def test_arrays_are_the_same_as_one_problem_at_a_time():
    generator = np.random.default_rng(0)
    n = generator.integers(20, 40, (30, 4))
    c = generator.integers(0, n + 1)
    for k in (1, 7, 20):
        one_by_one = [
            [float(pass_at_k(a, b, k)) for a, b in zip(x, y, strict=True)] for x, y in zip(n, c, strict=True)
        ]
        assert np.allclose(pass_at_k(n, c, k), one_by_one, atol=EXACT, rtol=0)
        assert np.allclose(1 - failure_curve(n, c, 20)[k], one_by_one, atol=EXACT, rtol=0)


def test_a_curve_says_nothing_beyond_what_was_recorded():
    curve = failure_curve([3, 5], [1, 5], 5)
    assert np.isnan(curve[4:, 0]).all()
    assert not np.isnan(curve[:, 1]).any()
    assert curve[1:, 1].max() == 0


@given(st.lists(counts(6), min_size=1, max_size=4), st.data())
def test_uniform_failure_is_the_mean_over_what_the_policy_allocates(members, data):
    budget = data.draw(st.integers(0, len(members) * min(n for n, _ in members)))
    n, c = zip(*members, strict=True)
    curves = failure_curve(n, c, max(n))
    names = frontier(*range(len(members)))
    failures = []
    for rotation in range(len(members)):
        drawn = POLICIES["uniform"]().allocate(budget, PolicyState(members=names, rotation=rotation))
        split = [drawn.count(member.name) for member in names]
        failures.append(float(split_failure(curves, split)))
    assert uniform_failure(curves, budget) == pytest.approx(np.mean(failures), abs=EXACT)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: pass_at_k([10, 4], [1, 1], 5), "pass@5 needs 5 samples of each problem, the fewest are 4"),
        (lambda: pass_at_k(3, 4, 1), "4 of 3 samples"),
        (lambda: pass_at_k(3, -1, 1), "-1 of 3 samples"),
    ],
)
def test_counts_that_cannot_be_are_refused(call, names):
    with pytest.raises(ValueError, match=re.escape(names)):
        call()


def test_reported_budgets_end_with_the_samples():
    assert budgets_up_to(64) == [1, 2, 5, 10, 20, 50]
    assert budgets_up_to(250)[-1] == 250
    assert budgets_up_to(0) == []
