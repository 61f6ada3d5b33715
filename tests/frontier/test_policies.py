"""The table of docs/results.md: what policies solve beside every member alone."""

from __future__ import annotations

import numpy as np
import pytest

from alpharay.judge.verdict import VerdictKind
from alpharay.router.outcomes import CODE
from alpharay.router.passk import pass_at_k
from bench.policies import measured, tables
from tests.router.recorded import recorded


def outcomes(seed, problems=16, samples=24):
    rates = np.random.default_rng(seed).beta(0.5, 1.5, (problems, 3))
    return recorded(rates, samples=samples, seed=seed)


MEMBERS = ("m0", "m1", "m2")


def test_members_and_fixed_splits_are_exact_and_replayed_policies_near_what_they_must_be():
    test = outcomes(1)
    ways, singles = measured(test, outcomes(2), MEMBERS, runs=6)
    assert sorted(singles) == [1, 2, 5, 10, 20]
    counts = test.counts
    for index, name in enumerate(MEMBERS):
        exact = pass_at_k(counts.samples[:, index], counts.solved[:, index], 10)
        assert ways[name].chance[10] == pytest.approx(exact)
    for name in ("uniform", "portfolio", "bandit", "adaptive"):
        assert all(1 <= ways[name].drawn[k] <= k for k in singles)
        shares = [ways[name].chance[k].mean() for k in sorted(singles)]
        assert shares == sorted(shares)
        assert shares[-1] > 0.5


def test_nothing_is_chosen_on_the_problems_that_it_is_tried_on():
    known = np.zeros((8, 3))
    known[:, 2] = 0.8
    ways, singles = measured(outcomes(3), recorded(known, samples=24), MEMBERS, runs=2)
    assert set(singles.values()) == {"m2"}
    assert ways["portfolio"].chance[20] == pytest.approx(ways["m2"].chance[20])


def test_it_goes_as_far_as_the_samples_do_and_leaves_out_problems_without_them():
    test = outcomes(4, samples=7)
    short = (test.problem == 0) & (test.member == 1) & (test.sample > 1)
    text = tables(test.only(MEMBERS), outcomes(5), members=MEMBERS, runs=2)
    assert "| k = 5 |" in text
    assert "k = 10" not in text
    test.verdict[short] = CODE[VerdictKind.JUDGE_ERROR]  # judge errors are no samples
    ways, _ = measured(test, outcomes(5), MEMBERS, runs=2)
    assert len(ways["adaptive"].chance[5]) == len(ways["m0"].chance[5]) == 15
