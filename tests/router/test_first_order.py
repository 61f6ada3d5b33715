"""The first-order test against closed forms, and what it says of members that differ or do not."""

from __future__ import annotations

import numpy as np
import pytest

from alpharay.router.audit import audit, why
from alpharay.router.first_order import worth_after
from alpharay.router.passk import failure_curve
from alpharay.router.redundancy import redundancy

from .recorded import recorded


def test_estimates_are_unbiased():
    rng = np.random.default_rng(5)
    chance, n, k = np.array([0.05, 0.2]), 60, 10
    solved = rng.binomial(n, chance, (40_000, 2))
    samples = np.full_like(solved, n)
    worth = worth_after(samples, solved, failure_curve(samples, solved, k)[k], k).mean(axis=0)
    failed, hazard = (1 - chance) ** k, -np.log(1 - chance)
    assert worth == pytest.approx(np.outer(failed, hazard), rel=0.02)


def test_a_split_pays_where_members_solve_different_problems_and_the_audit_says_why():
    rng = np.random.default_rng(6)
    solve = np.full((120, 2), 0.001)
    solve[np.arange(120), rng.integers(0, 2, 120)] = 0.1
    result = audit(recorded(solve, samples=60), resamples=500)
    assert result.reasons[20].low > 1
    assert {result.reasons[20].single, result.reasons[20].other} == {"m0", "m1"}
    assert "so a split beats it there" in why(result)


def test_no_split_pays_where_the_other_member_solves_the_same_problems_less_often():
    rates = np.random.default_rng(7).beta(0.5, 3, 120)
    result = audit(recorded(np.stack([rates, rates / 4], axis=1), samples=60), resamples=500)
    assert result.reasons[20].high < 1
    assert result.reasons[20].worth == pytest.approx(0.25, abs=0.12)
    assert "no split beats it" in why(result)


def test_members_that_are_alike_are_worth_the_same():
    rates = np.random.default_rng(8).beta(0.5, 3, 120)
    result = audit(recorded(np.stack([rates] * 3, axis=1), samples=60), resamples=500)
    assert result.reasons[10].low < 1 < result.reasons[10].high


def test_distinct_programs_are_what_a_subset_holds_on_average():
    outcomes = recorded(np.full((2, 2), 0.5), samples=10)
    texts = np.array(["a", "b"] * 20)
    object.__setattr__(outcomes, "text_sha256", np.where(outcomes.member == 0, "same", texts))
    assert redundancy(outcomes, [0]).programs == 1
    # Of five "a" and five "b", two are alike with chance 4/9.
    assert redundancy(outcomes, [1], 2).programs == pytest.approx(1 + 5 / 9)
    across = redundancy(outcomes, [0, 1])
    assert (across.samples, across.programs) == (20, 3)
    assert 1 < across.behaviours <= 3


def test_programs_that_were_not_recorded_are_not_counted():
    assert redundancy(recorded(np.full((2, 1), 0.5), samples=5), [0]).programs is None
