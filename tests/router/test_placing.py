"""Members are placed by the weights of their checkpoints; on the line that is by their alphas."""

import numpy as np
import pytest

from alpharay.judge.verdict import VerdictKind
from alpharay.router import Learner, LoggedOutcome, Member, PolicyState
from alpharay.router.learn.latent import prior
from alpharay.router.learn.mixture import unlearnt
from alpharay.router.learn.placing import along, distances, placed, to_high
from alpharay.router.policies import POLICIES

LINE = tuple(Member(name=f"f@{alpha:g}", alpha=alpha) for alpha in (-0.5, 0.0, 0.5, 1.0, 1.5))


def named(name, **weights):
    return Member(name=name, weights=tuple(weights.items()))


WIDE = named("f@wide", init=0.75, low=-0.25, high=0.5)
INIT = named("f@init", init=1.0)
PLANE = (*LINE, WIDE, INIT)


def test_a_line_is_placed_alike_by_alphas_and_by_weights():
    by_weights = tuple(named(member.name, **member.point) for member in LINE)
    apart = [distances(placed(members), placed(members)) for members in (LINE, by_weights)]
    np.testing.assert_allclose(*apart, atol=1e-12)
    np.testing.assert_allclose(along(LINE), along(by_weights))
    assert [to_high(member) for member in LINE] == pytest.approx([to_high(member) for member in by_weights])
    np.testing.assert_allclose(prior(LINE).covariance, prior(by_weights).covariance, atol=1e-9)


def test_members_that_lie_near_one_another_are_alike_before_anything_is_learnt():
    beside = named("f@beside", init=0.7, low=-0.2, high=0.5)
    members = (*PLANE, beside)
    covariance = prior(members).covariance
    numbers = {member.name: number for number, member in enumerate(members)}
    wide = covariance[numbers["f@wide"]]
    others = [wide[numbers[member.name]] for member in (*LINE, INIT)]
    assert wide[numbers["f@beside"]] > max(others)
    np.linalg.cholesky(covariance)


def test_before_anything_is_learnt_no_member_of_a_plane_is_better_than_another():
    mixture = unlearnt(PLANE)
    assert mixture.rates.sum(-1) == pytest.approx(np.ones(mixture.rates.shape[:2]))
    solved = mixture.weights @ mixture.rates[:, :, 0]
    assert solved.max() / solved.min() < 1.15
    assert not np.allclose(mixture.rates[:, PLANE.index(WIDE), 0], mixture.rates[:, PLANE.index(INIT), 0])


def test_a_member_without_any_place_is_like_no_other():
    members = tuple(Member(name=name) for name in "abc")
    apart = distances(placed(members), placed(members))
    assert apart[0, 1] == apart[1, 2] == apart[0, 2] > 0


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_draws_from_a_plane(policy):
    allocated = POLICIES[policy]().allocate(14, PolicyState(members=PLANE, budget=14))
    assert len(allocated) == 14
    assert set(allocated) <= {member.name for member in PLANE}


def test_single_begins_with_the_member_nearest_to_high():
    members = (INIT, WIDE, named("f@near", init=0.1, high=0.9))
    assert POLICIES["single"]().allocate(1, PolicyState(members=members)) == ["f@near"]


def test_what_is_learnt_of_a_plane_is_kept_with_its_weights():
    learner = Learner()
    for number in range(120):
        for draw, member in enumerate(PLANE):
            solved = member in (WIDE, INIT) or (number + draw) % 3 == 0
            row = LoggedOutcome(
                request=f"r{number}", draw=draw, member=member.name, alpha=member.alpha, weights=member.weights,
                verdict=VerdictKind.ACCEPTED if solved else VerdictKind.WRONG_ANSWER,
            )  # fmt: skip
            assert LoggedOutcome.from_json(row.to_json()) == row
            learner.learn(row)
    again = Learner()
    again.restore(learner.snapshot())
    mixture, kept = learner.router_state().mixture, again.router_state().mixture
    assert kept.members == mixture.members == PLANE
    np.testing.assert_array_equal(kept.rates, mixture.rates)
    solved = mixture.weights @ mixture.rates[:, :, 0]
    assert solved[PLANE.index(WIDE)] > solved[: len(LINE)].max()
    # One never seen is taken to be like what lies near it.
    beside = named("f@beside", init=0.7, low=-0.2, high=0.5)
    guessed = mixture.rates_of((beside,))[:, 0, 0]
    assert mixture.weights @ guessed > solved[: len(LINE)].mean()


def test_a_row_of_an_earlier_version_has_no_weights():
    row = {"request": "r", "draw": 0, "member": "f@1", "alpha": 1.0, "verdict": "accepted"}
    assert LoggedOutcome.from_json(row).weights == ()
    with pytest.raises(ValueError, match="weight"):
        LoggedOutcome.from_json(row | {"weights": {"init": float("inf")}})
