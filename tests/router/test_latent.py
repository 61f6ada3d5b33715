from itertools import product
from math import lgamma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router import Candidate, Draw, OutcomeClass
from alpharay.router.learn.belief import Belief
from alpharay.router.learn.latent import Latent, prior, refit
from alpharay.router.learn.mixture import KINDS, Mixture, log_chance, log_evidence, unlearnt

from .driver import FIVE, frontier

KIND = {
    OutcomeClass.SOLVED: VerdictKind.ACCEPTED,
    OutcomeClass.INCORRECT: VerdictKind.WRONG_ANSWER,
    OutcomeClass.INEFFICIENT: VerdictKind.TIME_LIMIT,
}
TWO = frontier(0.0, 1.0)


def mixture_of(rng, members, types=4, kappa=5.0):
    rates = rng.dirichlet([1, 1, 1], (types, len(members)))
    return Mixture(tuple(members), rng.dirichlet([1] * types), rates, kappa)


def history(outcome_classes):
    """outcome_classes: [(index of the member, its outcome class)]"""
    return [
        Candidate(
            draw=Draw(index=n, member=FIVE[member].name, sample=n, seed=n),
            verdict=Verdict(KIND[outcome_class], 0, 1),
        )
        for n, (member, outcome_class) in enumerate(outcome_classes)
    ]


def beta_binomial(successes, failures, a, b):
    return (
        lgamma(a + b)
        - lgamma(a + b + successes + failures)
        + (lgamma(a + successes) - lgamma(a))
        + (lgamma(b + failures) - lgamma(b))
    )


@given(
    st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=2, max_size=2), st.integers(0, 99)
)
def test_the_evidence_is_that_of_solving_and_of_how_it_failed(counts, seed):
    rates = np.random.default_rng(seed).dirichlet([1, 1, 1], (3, 2)) * 0.97 + 0.01
    by_hand = [
        sum(
            beta_binomial(solved, wrong + slow, 5 * p, 5 * (1 - p))
            + beta_binomial(wrong, slow, KINDS * w / (w + s), KINDS * s / (w + s))
            for (p, w, s), (solved, wrong, slow) in zip(kind, counts, strict=True)
        )
        for kind in rates
    ]
    np.testing.assert_allclose(log_evidence(rates, 5.0, np.array(counts)), by_hand, atol=1e-6)


def test_a_hundred_failures_say_far_less_of_their_kind_than_as_many_independent_ones():
    rates = np.array([[[0.1, 0.8, 0.1]], [[0.1, 0.1, 0.8]]])  # two types, which fail in opposite ways

    def log_odds(wrong):
        evidence = log_evidence(rates, 50.0, np.array([[0, wrong, 0]]))
        return evidence[0] - evidence[1]

    independent = 100 * np.log(8)
    assert log_odds(1) == pytest.approx(np.log(8))
    assert log_odds(3) < log_odds(100) < independent / 4


@given(st.integers(0, 99))
def test_all_that_three_draws_may_come_to_has_chance_one(seed):
    mixture = mixture_of(np.random.default_rng(seed), TWO)
    total = 0.0
    for outcome_classes in product(
        OutcomeClass, repeat=3
    ):  # two draws of the first member, one of the second, in this order
        counts = np.zeros((2, 3), dtype=np.int64)
        for member, outcome_class in zip((0, 0, 1), outcome_classes, strict=True):
            counts[member, outcome_class] += 1
        total += np.exp(log_chance(mixture, counts))
    assert total == pytest.approx(1)


def by_enumeration(mixture, seen, planned):
    """P(none of the planned solves | seen), by sequences: every type, every draw, one after the other."""
    open_, reached = 0.0, 0.0
    for weight, rates in zip(mixture.weights, mixture.rates, strict=True):
        solving = mixture.kappa * np.stack([rates[:, 0], 1 - rates[:, 0]], axis=1)
        kinds = KINDS * rates[:, 1:] / (1 - rates[:, :1])
        chance = weight
        for member, outcome_class in seen:
            chance *= solving[member, min(outcome_class, 1)] / solving[member].sum()
            solving[member, min(outcome_class, 1)] += 1
            if outcome_class:
                chance *= kinds[member, outcome_class - 1] / kinds[member].sum()
                kinds[member, outcome_class - 1] += 1
        reached += chance
        for member in planned:
            chance *= solving[member, 1] / solving[member].sum()
            solving[member, 1] += 1
        open_ += chance
    return open_ / reached


PLACES = st.integers(0, 4)


@given(
    st.integers(0, 99),
    st.lists(st.tuples(PLACES, st.sampled_from(OutcomeClass)), max_size=6),
    st.lists(PLACES, max_size=6),
)
def test_gains_are_the_exact_marginal_coverage(seed, seen, planned):
    mixture = mixture_of(np.random.default_rng(seed), FIVE)
    belief = Belief(mixture, FIVE, history(seen))
    for member in planned:
        belief.choose(FIVE[member].name)
    open_ = by_enumeration(mixture, seen, planned)
    assert belief.types.sum() == pytest.approx(open_)
    for member, gain in enumerate(belief.gain()):
        assert gain == pytest.approx(open_ - by_enumeration(mixture, seen, [*planned, member]), abs=1e-9)


def test_before_anything_is_learnt_all_members_are_equal():
    belief = Belief(unlearnt(FIVE), FIVE, ())
    np.testing.assert_allclose(belief.gain(), belief.gain()[0], rtol=0.03)


@pytest.mark.parametrize("knowing", [unlearnt, lambda members: prior(members).mixture()])
def test_wrong_answers_speak_for_lower_alphas_and_time_limits_for_higher(knowing):
    wrong = Belief(knowing(FIVE), FIVE, history([(2, OutcomeClass.INCORRECT)] * 2)).gain()
    slow = Belief(knowing(FIVE), FIVE, history([(2, OutcomeClass.INEFFICIENT)] * 2)).gain()
    assert wrong[0] > wrong[4]
    assert slow[4] > slow[0]


def test_what_the_judge_could_not_judge_changes_no_belief():
    candidates = history([(2, OutcomeClass.INCORRECT)])
    unjudged = [Candidate(draw=candidates[0].draw), *candidates[:0]]
    np.testing.assert_array_equal(
        Belief(unlearnt(FIVE), FIVE, unjudged).gain(), Belief(unlearnt(FIVE), FIVE, ()).gain()
    )


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_the_prior_and_every_fit_are_covariances(size):
    members = frontier(*(number / 4 for number in range(size)))
    counts = np.random.default_rng(1).multinomial(3, [0.1, 0.6, 0.3], (40, size))
    for latent in (prior(members), refit(prior(members), counts, 3)):
        assert np.linalg.eigvalsh(latent.covariance)[0] > 0
        np.testing.assert_allclose(latent.covariance, latent.covariance.T, atol=1e-9)
        assert np.isfinite(latent.mean).all()


def test_the_points_have_the_gaussians_mean_and_covariance():
    latent = prior(FIVE)
    rates = latent.mixture().rates
    logits = np.log(rates[:, :, 0] / (1 - rates[:, :, 0]))
    inside = np.abs(logits).max(axis=1) < 11.9
    assert inside.mean() > 0.99
    np.testing.assert_allclose(logits[inside].mean(axis=0), latent.mean[:5], atol=0.1)
    np.testing.assert_allclose(np.cov(logits[inside].T), latent.covariance[:5, :5], atol=0.4)


def test_fitting_finds_the_frontier_that_made_the_counts():
    truth = Latent(TWO, np.array([-1.0, 0.5, -0.5, -0.5]), np.diag([1.0, 1.0, 0.5, 0.5]) + 1.0)
    rng = np.random.default_rng(3)
    z = rng.multivariate_normal(truth.mean, truth.covariance, 600)
    chance = 1 / (1 + np.exp(-z))
    rates = np.stack(
        [chance[:, :2], (1 - chance[:, :2]) * (1 - chance[:, 2:]), (1 - chance[:, :2]) * chance[:, 2:]], -1
    )
    counts = np.array([[rng.multinomial(10, row) for row in problem] for problem in rates])
    fitted = refit(prior(TWO), counts, 30)
    np.testing.assert_allclose(fitted.mean, truth.mean, atol=0.35)
    np.testing.assert_allclose(fitted.covariance, truth.covariance, atol=0.9)
    held = [np.array([rng.multinomial(10, row) for row in problem]) for problem in rates[:200]]
    better, worse = (
        sum(log_chance(latent.mixture(), each) for each in held) for latent in (fitted, prior(TWO))
    )
    assert better > worse


def test_requests_that_stopped_at_a_pass_do_not_make_a_member_look_much_better():
    # Solving one time in five. Laplace's approximation of so few draws errs upwards, to about 0.29; the share of
    # requests solved at their first draw and no more would say so too, but that of the problems solved 0.93.
    rng = np.random.default_rng(5)
    counts = np.zeros((500, 1, 3), dtype=np.int64)
    for row in counts:
        for _ in range(12):
            solved = rng.random() < 0.2
            row[0, 0 if solved else 1] += 1
            if solved:
                break
    rate = refit(prior(TWO[:1]), counts, 20).mixture().rates[:, 0, 0].mean()
    assert rate == pytest.approx(0.2, abs=0.1)
    assert counts[:, 0, 0].sum() / counts.sum() == pytest.approx(0.2, abs=0.04)


def test_a_member_never_seen_is_taken_to_be_like_its_neighbours():
    mixture = mixture_of(np.random.default_rng(0), FIVE)
    new = frontier(0.05)[0]
    rates = mixture.rates_of([FIVE[0], new])
    np.testing.assert_allclose(rates.sum(axis=-1), 1)
    distances = [np.abs(rates[:, 1] - mixture.rates[:, member]).mean() for member in (1, 4)]
    assert distances[0] < distances[1]
