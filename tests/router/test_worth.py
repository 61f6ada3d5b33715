"""What the next sample of a problem is worth after so many failures."""

from __future__ import annotations

import numpy as np
import pytest

from alpharay.router.learn.worth import expected_passes, samples_worth


@pytest.mark.parametrize(("a", "b"), [(0.5, 2.0), (1.0, 30.0), (3.0, 6.0)])
@pytest.mark.parametrize("cost", [0.02, 0.04])
def test_it_is_learnt_from_problems_that_end_at_a_pass(a, b, cost):
    rng = np.random.default_rng(0)
    first = rng.geometric(rng.beta(a, b, 3000)) - 1  # failures before the first pass
    worth = a / cost - a - b + 1  # after f failures the chance is a / (a + b + f)
    estimate = samples_worth(np.minimum(first, 100), first < 100, cost)
    assert estimate == pytest.approx(max(worth, 0), rel=0.25, abs=3)


def test_before_anything_passes_hope_falls_with_every_failure():
    never = np.zeros(10, dtype=bool)
    worth = [samples_worth(np.full(10, failures), never, 0.02) for failures in (1, 3, 10, 30, 100)]
    assert worth == sorted(worth, reverse=True)
    assert worth[0] > 10
    assert worth[-1] <= 1


def test_one_failure_each_does_not_end_a_batch_of_which_a_third_passed():
    failures, passed = np.repeat([0, 1], [30, 60]), np.repeat([True, False], [30, 60])
    assert samples_worth(failures, passed, 0.05) > 5


def test_what_further_samples_solve_is_expected_as_it_comes():
    rng = np.random.default_rng(1)
    first = rng.geometric(rng.beta(1.0, 6.0, 2000)) - 1
    for level, further in ((3, 4), (8, 20)):
        passed = first < level
        failures = np.minimum(first, level)
        samples = int(
            (np.minimum(first, level + further) - level).clip(0).sum()
            + ((first >= level) & (first < level + further)).sum()
        )
        comes = int(((first >= level) & (first < level + further)).sum())
        assert expected_passes(failures, passed, ~passed, samples) == pytest.approx(comes, rel=0.15)
        # As many samples as there may be, of which a problem gets no more than those.
        assert expected_passes(failures, passed, ~passed, 10**6, level + further) == pytest.approx(
            comes, rel=0.15
        )
    assert expected_passes(failures, passed, np.zeros(2000, dtype=bool), 100) == 0
