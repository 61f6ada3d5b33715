import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.router.learn.heads import Constant, Implicit, Logistic, Mlp, NearestNeighbours
from alpharay.router.learn.heads.base import sigmoid, with_one
from alpharay.router.learn.heads.implicit import matched, project_rows

HEADS = {
    "constant": Constant,
    "logistic": Logistic,
    "mlp": Mlp,
    "knn": NearestNeighbours,
    "implicit, state-driven": Implicit,
    "implicit, descent": lambda: Implicit(state_driven=False, steps=80),
}


def log_of(seed, problems=200, members=3, dimensions=4, tries=6):
    """A log in which the first feature decides who solves."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (problems, dimensions))
    logits = np.stack([2 * x[:, 0] * side - 0.5 for side in np.linspace(-1, 1, members)], axis=1)
    tried = np.full((problems, members), float(tries))
    return x, rng.binomial(tries, sigmoid(logits)).astype(float), tried, sigmoid(logits)


def log_loss(chances, truth):
    return float(-(truth * np.log(chances) + (1 - truth) * np.log(1 - chances)).mean())


@pytest.mark.parametrize("name", HEADS)
def test_chances_are_chances_whatever_was_seen(name):
    for solved_share in (0.0, 1.0):
        head, (x, _, tried, _) = HEADS[name](), log_of(0, problems=30)
        head.fit(x, tried * solved_share, tried)
        chances = head.chances(np.concatenate([x, 50 * x]))
        assert chances.shape == (60, 3)
        assert ((chances > 0) & (chances < 1)).all()
        assert np.isfinite(chances).all()


@pytest.mark.parametrize("name", [name for name in HEADS if name != "constant"])
def test_every_head_that_looks_learns_what_the_constant_cannot(name):
    x, solved, tried, _ = log_of(1)
    later, _, _, truth = log_of(2)
    head, constant = HEADS[name](), Constant()
    head.fit(x, solved, tried)
    constant.fit(x, solved, tried)
    assert log_loss(head.chances(later), truth) < log_loss(constant.chances(later), truth) - 0.05


@pytest.mark.parametrize("name", HEADS)
def test_a_head_fitted_twice_is_the_same(name):
    x, solved, tried, _ = log_of(3, problems=60)
    runs = []
    for _ in range(2):
        head = HEADS[name]()
        head.fit(x, solved, tried)
        runs.append(head.chances(x))
    np.testing.assert_array_equal(*runs)


def test_logistic_finds_the_maximum():
    x, solved, tried, _ = log_of(4)
    head = Logistic(ridge=5.0)
    head.fit(x, solved, tried)
    slope = with_one(x).T @ (solved - tried * head.chances(x))
    slope[1:] -= 5.0 * head._weights[1:]
    np.testing.assert_allclose(slope, 0, atol=1e-2)


@given(st.integers(0, 99), st.integers(1, 8), st.floats(0.1, 3))
def test_the_projection_is_the_nearest_point_of_the_ball(seed, columns, radius):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(0, 2, (3, columns))
    projected = project_rows(matrix, radius)
    assert (np.abs(projected).sum(axis=1) <= radius + 1e-9).all()
    inside = np.abs(matrix).sum(axis=1) <= radius
    np.testing.assert_array_equal(projected[inside], matrix[inside])
    others = rng.laplace(size=(200, 1, columns))
    others *= radius / np.maximum(np.abs(others).sum(axis=2, keepdims=True), radius)
    near = ((projected - matrix) ** 2).sum(axis=1)
    assert (((others - matrix) ** 2).sum(axis=2) >= near - 1e-9).all()


@pytest.fixture(params=[True, False], ids=["state-driven", "descent"])
def implicit(request):
    head = Implicit(state_driven=request.param, steps=60)
    x, solved, tried, _ = log_of(5)
    head.fit(x, solved, tried)
    return head, x


def test_the_bound_holds_and_the_states_are_fixed_points(implicit):
    head, x = implicit
    assert np.abs(head.a).sum(axis=1).max() <= 0.9 + 1e-9
    inputs = with_one(x)
    states = head.settled(inputs)
    np.testing.assert_allclose(np.maximum(states @ head.a.T + inputs @ head.b.T, 0), states, atol=1e-7)


def test_no_two_inputs_move_the_logits_more_than_the_certificate_allows(implicit):
    head, x = implicit
    bound, rng = head.certificate(), np.random.default_rng(0)
    logits = lambda inputs: head.settled(inputs) @ head.c.T + inputs @ head.d.T  # noqa: E731
    for size in (1e-3, 0.1, 2.0):
        moved = x + rng.uniform(-size, size, x.shape)
        change = np.abs(logits(with_one(moved)) - logits(with_one(x))).max(axis=1)
        assert (change <= bound * np.abs(moved - x).max(axis=1) + 1e-6).all()
    assert np.isfinite(bound)


def test_the_adjoint_is_the_gradient_through_the_fixed_point(implicit):
    head, x = implicit
    inputs, weights = with_one(x[:5]), np.random.default_rng(1).normal(size=head.a.shape[0])
    g = head.adjoint(head.settled(inputs), np.tile(weights, (5, 1)))
    for row, column in ((0, 1), (2, 0), (3, 2)):
        step = 1e-5
        head.b[row, column] += step
        more = (head.settled(inputs, 1e-12) @ weights).sum()
        head.b[row, column] -= 2 * step
        less = (head.settled(inputs, 1e-12) @ weights).sum()
        head.b[row, column] += step
        assert (more - less) / (2 * step) == pytest.approx((g.T @ inputs)[row, column], abs=1e-3)


def test_states_that_a_bounded_map_made_are_matched():
    rng = np.random.default_rng(0)
    a, b = project_rows(rng.normal(size=(6, 6)), 0.6), rng.normal(size=(6, 4))
    inputs = with_one(rng.normal(size=(300, 3)))
    teacher = Implicit(kappa=0.7)
    teacher.a, teacher.b = a, b
    states = teacher.settled(inputs)
    teacher.a, teacher.b = matched(states, inputs, 0.7, steps=2000)
    assert np.abs(teacher.a).sum(axis=1).max() <= 0.7 + 1e-9
    assert np.abs(teacher.settled(inputs) - states).max() < 0.05 * states.max()


def test_members_nearer_than_the_certificate_are_not_told_apart(implicit):
    head, x = implicit
    assert head.close(x, 0.0).sum(axis=1).max() == 1
    assert head.close(x, 1e9).all()


def test_a_bound_that_is_none_is_refused():
    with pytest.raises(ValueError, match="kappa"):
        Implicit(kappa=1.0)
