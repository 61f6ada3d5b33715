"""Replays: the same session as the server's, over recorded samples, never more than the budget."""

from __future__ import annotations

import numpy as np
import pytest

from alpharay.router import POLICIES
from alpharay.router.passk import failure_curve, uniform_failure
from alpharay.router.replay import NotRecorded, Replay

from .recorded import recorded


def mixed(problems=12, members=3, seed=0):
    return np.random.default_rng(seed).beta(0.5, 1.5, (problems, members))


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_no_policy_spends_more_than_the_budget_and_each_solves_some(policy):
    replayed = Replay(recorded(mixed(), samples=20)).run(policy, 7, seeds=3)
    assert replayed.samples.max() <= 7
    assert (replayed.samples >= 1).all()
    assert 0 < replayed.solved.mean() < 1
    assert (replayed.tokens == 30 * replayed.samples).all()
    assert ((replayed.first_pass > 0) == replayed.solved).all()
    assert (replayed.first_pass <= replayed.samples).all()


def test_uniform_solves_what_the_formula_says():
    """With a budget that no pass cuts short of solving, a replay is a simulation of pass@k of the split."""
    outcomes = recorded(mixed(6), samples=8)
    counts = outcomes.counts
    exact = 1 - uniform_failure(failure_curve(counts.samples, counts.solved, 8), 4)
    replayed = Replay(outcomes).run("uniform", 4, seeds=600)
    assert replayed.solved.mean(axis=0) == pytest.approx(exact, abs=0.07)
    assert replayed.solved.mean() == pytest.approx(exact.mean(), abs=0.02)


def test_a_problem_that_has_no_solution_takes_the_whole_budget():
    replayed = Replay(recorded(np.zeros((4, 3)), samples=20)).run("uniform", 9, seeds=2)
    assert (replayed.samples == 9).all()
    assert not replayed.solved.any()


def test_the_same_seeds_give_the_same_replay_and_others_another():
    first, second = (Replay(recorded(mixed(), samples=20)).run("adaptive", 6, seeds=4) for _ in range(2))
    assert (first.samples == second.samples).all()
    assert (first.solved == second.solved).all()
    assert len({tuple(row) for row in first.samples.tolist()}) > 1


def test_samples_are_drawn_without_replacement():
    """One of eight samples passes: drawing all eight must always find it."""
    outcomes = recorded(np.zeros((3, 1)), samples=8)
    outcomes.verdict[outcomes.sample == 5] = 0
    outcomes.passed[:] = 1
    outcomes.total[:] = 1
    replayed = Replay(outcomes).run("uniform", 8, seeds=20)
    assert replayed.solved.all()
    assert set(replayed.first_pass.ravel()) >= {1, 4, 8}


def test_single_takes_the_member_that_was_best_on_other_problems():
    solve = np.zeros((20, 2))
    solve[:, 1] = 0.9
    replay = Replay(recorded(solve, samples=10))
    assert replay.run("single", 4, seeds=2).solved.mean() > 0.95
    assert not replay.run("single", 4, seeds=2, members=replay.members[:1]).solved.any()


def test_what_a_policy_knows_comes_from_other_problems():
    """A member that shines on one problem alone must not be known before that problem is met."""
    solve = np.full((10, 2), 0.0)
    outcomes = recorded(solve, samples=10)
    shining = (outcomes.problem == 3) & (outcomes.member == 1)
    outcomes.verdict[shining] = 0
    replay = Replay(outcomes)
    fold = int(replay._fold[3])
    assert replay.router_state(fold).solved.get("m1", 0) == 0
    assert replay.router_state((fold + 1) % 5).solved["m1"] > 0


def test_what_is_learnt_from_other_outcomes_comes_from_those_alone():
    """Validation says that the second member is the one; on the problems of the trial it is the first."""
    validation, trial = np.zeros((6, 2)), np.zeros((6, 2))
    validation[:, 1], trial[:, 0] = 0.9, 0.9
    replay = Replay(recorded(trial, samples=10), learnt_from=recorded(validation, samples=10))
    assert all(replay.router_state(fold).solved == replay.router_state(0).solved for fold in range(5))
    assert replay.router_state(0).solved["m0"] == 0
    assert not replay.run("single", 4, seeds=2).solved.any()


def test_asking_for_more_than_was_recorded_is_told():
    with pytest.raises(NotRecorded, match="budget of 30 asks for more than the 8 samples"):
        Replay(recorded(np.zeros((3, 2)), samples=8)).run("uniform", 30, seeds=1)


def test_judge_errors_are_not_drawn():
    replayed = Replay(recorded(np.zeros((3, 2)), samples=40, judge_errors=0.3)).run("uniform", 30, seeds=1)
    assert (replayed.samples == 30).all()
