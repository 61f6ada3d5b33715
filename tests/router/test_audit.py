"""Members whose solve probabilities are known: the audit must find advantages, ties and losses, and not invent any."""

from __future__ import annotations

import numpy as np
import pytest

from alpharay.router.audit import TooLittle, advice, audit
from alpharay.router.outcomes import Outcomes

from .recorded import recorded

PROBLEMS = 120


def complementary(rate=0.1, problems=PROBLEMS, seed=0):
    """Each problem can be solved by one of two members, either as likely."""
    solve = np.zeros((problems, 2))
    solve[np.arange(problems), np.random.default_rng(seed).integers(0, 2, problems)] = rate
    return solve


def test_members_that_solve_different_problems_pay_together():
    result = audit(recorded(complementary()))
    assert result.budget == 50
    truth = (1 - 0.9**25) - 0.5 * (1 - 0.9**50)
    assert result.portfolio.gain[50].low < truth < result.portfolio.gain[50].high
    assert result.portfolio.pass_at[50] == pytest.approx(1 - 0.9**25, abs=0.04)
    assert set(result.portfolio.splits[50]) == {"m0", "m1"}
    assert advice(result).startswith("An ensemble pays: with 50 samples the portfolio solves")


def test_members_that_are_all_alike_do_not_pay():
    pays, gains = 0, []
    for seed in range(12):
        rates = np.random.default_rng(seed).beta(0.4, 2, 60)
        result = audit(
            recorded(np.stack([rates] * 4, axis=1), samples=10, seed=seed), budget=10, resamples=999
        )
        gains.append(result.portfolio.gain[10].value)
        pays += result.pays_at(10)
        assert ("does not measurably pay" in advice(result)) == (not result.pays_at(10))
    assert pays <= 1
    assert abs(np.mean(gains)) < 2 * np.std(gains) / len(gains) ** 0.5


def test_a_single_sample_split_over_a_worse_member_loses():
    rates = np.random.default_rng(2).beta(1, 2, PROBLEMS)
    result = audit(recorded(np.stack([rates, 0.3 * rates], axis=1)))
    assert result.best_single == "m0"
    assert result.uniform.gain[10].sign == -1
    assert result.portfolio.splits[10] == {"m0": 10}  # who adds nothing gets nothing
    assert result.portfolio.gain[10].value == pytest.approx(0, abs=0.005)


def test_choosing_among_equals_gains_nothing_where_choosing_in_sample_would():
    """Nine members that are alike: the best of nine looks better than it is, the cross-validated one does not."""
    alike = np.full((60, 9), 0.15)
    runs = [audit(recorded(alike, samples=3, seed=seed), budget=1, resamples=9) for seed in range(16)]
    in_sample = np.mean([max(member.pass_at[1] for member in run.members.values()) for run in runs])
    honest = np.mean([run.single[1] for run in runs])
    assert in_sample > 0.17
    assert honest == pytest.approx(0.15, abs=0.02)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    truth = (1 - 0.8**2) - 0.5 * (1 - 0.8**4)
    hits = 0
    for seed in range(40):
        gain = audit(
            recorded(complementary(0.2, 60, seed), samples=4, seed=seed), budget=4, resamples=999
        ).uniform.gain[4]
        hits += gain.low <= truth <= gain.high
    assert hits >= 34  # 95 % of 40 is 38; 34 or fewer would happen once in a hundred


def test_the_oracle_is_not_the_winner_s_curse():
    """Alike members: nothing to know, so knowing the best of each problem gains nothing."""
    result = audit(recorded(np.full((PROBLEMS, 6), 0.2), samples=40))
    assert set(result.oracle.pass_at) == {1, 2, 5, 10, 20}
    assert result.oracle.pass_at[1] == pytest.approx(0.2, abs=0.01)
    assert result.oracle.gain[1].value == pytest.approx(0, abs=0.01)


def test_the_oracle_finds_the_headroom_that_there_is():
    result = audit(recorded(complementary(0.5), samples=60))
    assert result.oracle.pass_at[1] == pytest.approx(0.5, abs=0.02)
    assert result.single[1] == pytest.approx(0.25, abs=0.05)


def test_who_solves_what_others_do_not():
    solve = np.zeros((100, 3))
    solve[:50, 0] = 1  # m0 solves these, and m2 the first 20 of them
    solve[50:60, 1] = 1
    solve[:20, 2] = 1
    result = audit(recorded(solve, samples=5))
    assert result.solves_alone.tolist() == [[0, 0.5, 0.3], [0.1, 0, 0.1], [0, 0.2, 0]]
    assert result.only_one == pytest.approx({"m0": 0.3, "m1": 0.1, "m2": 0.0})


def test_failures_are_told_apart():
    result = audit(recorded(np.full((PROBLEMS, 2), 0.2), slow=[1.0, 0.25]))
    first, second = result.members["m0"], result.members["m1"]
    assert first.incorrect.value == 0
    assert first.inefficient.low < 0.8 < first.inefficient.high
    assert second.incorrect.low < 0.6 < second.incorrect.high
    assert first.samples == PROBLEMS * 60


def test_judge_errors_are_no_samples():
    result = audit(recorded(np.full((PROBLEMS, 2), 0.25), samples=100, judge_errors=0.02))
    assert result.judge_errors > 200
    assert result.members["m0"].samples < PROBLEMS * 100
    assert result.members["m0"].pass_at[1] == pytest.approx(0.25, abs=0.01)
    total = result.members["m0"]
    assert total.pass_at[1] + total.incorrect.value + total.inefficient.value == pytest.approx(1, abs=0.003)


def test_baselines_are_no_part_of_the_frontier():
    solve = np.concatenate([complementary(), np.full((PROBLEMS, 1), 0.9)], axis=1)
    outcomes = recorded(solve, names=["m0", "m1", "temporal:late"])
    result = audit(outcomes, baselines={"temporal": ["temporal:late"]})
    assert result.frontier == ("m0", "m1")
    assert result.best_single in result.frontier
    assert result.baselines["temporal"].gain[10].low > 0.3
    assert "temporal:late" in result.members


def test_a_baseline_with_fewer_samples_shortens_nothing_but_itself():
    outcomes = recorded(np.full((PROBLEMS, 3), 0.3), names=["m0", "m1", "hot"])
    short = outcomes.member == 2
    keep = ~short | (outcomes.sample < 12)
    columns = {
        name: (value[keep] if isinstance(value, np.ndarray) else value)
        for name, value in vars(outcomes).items()
        if name != "counts"
    }
    result = audit(Outcomes(**columns), baselines={"temperature": ["hot"]})
    assert result.budget == 50
    assert set(result.baselines["temperature"].pass_at) == {1, 2, 5, 10}


def test_an_audit_can_decide_at_any_budget_that_was_sampled():
    outcomes = recorded(complementary())
    assert audit(outcomes, budget=7).budget == 7
    with pytest.raises(TooLittle, match="a budget of 61 cannot be audited with 60 samples"):
        audit(outcomes, budget=61)


def test_the_same_outcomes_give_the_same_audit():
    first, second = (audit(recorded(complementary())) for _ in range(2))
    assert first.portfolio == second.portfolio
    assert first.oracle == second.oracle


def test_one_problem_is_too_little():
    with pytest.raises(TooLittle, match="at least 2 problems"):
        audit(recorded(np.full((1, 2), 0.5)))


def test_one_member_is_told_so():
    assert "only one member" in advice(audit(recorded(np.full((10, 1), 0.5))))
