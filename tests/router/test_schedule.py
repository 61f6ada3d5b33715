"""Schedules: chosen greedily, followed by `portfolio`, whatever is down or left out."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.router import POLICIES, RouterState, Session
from alpharay.router.passk import failure_curve, split_failure
from alpharay.router.schedule import (
    Recommendation,
    expanded,
    greedy_schedule,
    greedy_schedules,
    next_turns,
    runs_of,
    shrunk_chances,
    splits_of,
)

from .driver import Lost, drive, failed, frontier, sampling

NAMES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=30)


def complementary(samples=40):
    """The first member solves half of the problems often; the second solves the other half, seldom."""
    solved = np.zeros((40, 3), dtype=int)
    solved[:20, 0], solved[20:, 1] = samples // 2, samples // 10
    return np.full_like(solved, samples), solved


def test_a_schedule_begins_with_the_best_member_and_turns_to_what_that_leaves_unsolved():
    samples, solved = complementary()
    schedule = greedy_schedule(samples, solved, 40)
    assert schedule[0] == 0
    assert Counter(schedule.tolist())[1] > 25
    assert 2 not in schedule


def test_a_schedule_solves_more_than_any_member_at_every_budget_where_members_differ():
    rng = np.random.default_rng(3)
    chance = np.clip(rng.beta(0.3, 3, (400, 4)), 0, 1)
    solved = rng.binomial(40, chance)
    samples = np.full_like(solved, 40)
    schedule = greedy_schedule(samples[:200], solved[:200], 20)
    curves = failure_curve(samples[200:], solved[200:], 20)
    for k in (5, 10, 20):
        split = np.bincount(schedule[:k], minlength=4).tolist()
        together = 1 - split_failure(curves, split).mean()
        assert together > (1 - curves[k]).mean(axis=0).max() + 0.02


def test_each_sample_covers_nearly_the_most():
    rng = np.random.default_rng(4)
    solved = rng.binomial(20, rng.beta(0.5, 2, (30, 5)))
    chances = shrunk_chances(np.full_like(solved, 20), solved)
    left = np.ones(30)
    for member in greedy_schedule(np.full_like(solved, 20), solved, 50):
        gain = left @ chances
        assert gain[member] >= 0.98 * gain.max()
        left *= 1 - chances[:, member]


def test_a_problem_that_counts_twice_is_a_problem_that_is_there_twice():
    samples, solved = complementary()
    chances = shrunk_chances(samples, solved)
    twice = np.ones(40)
    twice[20:] = 2
    weighted = greedy_schedules(chances, np.stack([np.ones(40), twice]), 30)
    repeated = np.concatenate([chances, chances[20:]])
    assert weighted[1].tolist() == greedy_schedules(repeated, np.ones((1, 60)), 30)[0].tolist()
    assert weighted[0].tolist() == greedy_schedules(chances, np.ones((1, 40)), 30)[0].tolist()


def test_no_problems_are_refused():
    with pytest.raises(ValueError, match="some problems"):
        greedy_schedule(np.zeros((0, 2), dtype=int), np.zeros((0, 2), dtype=int), 3)


@given(NAMES)
def test_runs_and_json_keep_a_schedule(names):
    assert expanded(runs_of(names)) == tuple(names)
    recommended = Recommendation(schedule=tuple(names))
    assert Recommendation.from_json(recommended.as_json()) == recommended


def test_weights_that_an_earlier_version_recorded_are_read():
    assert Recommendation.from_json({"m": 0.5}) == Recommendation(weights={"m": 0.5})


@given(NAMES, st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_waves_follow_the_schedule_however_they_are_cut(names, waves):
    whole = next_turns(names, "abcd", {}, sum(waves))
    drawn = Counter()
    in_waves = []
    for wave in waves:
        turns = next_turns(names, "abcd", drawn, wave)
        drawn.update(turns)
        in_waves += turns
    assert in_waves == whole
    assert whole[: len(names)] == names[: len(whole)]


def test_past_its_end_a_schedule_repeats_its_second_half():
    assert "".join(next_turns("aabc", "abc", {}, 9)) == "aabcbcbcb"


@given(NAMES, st.sampled_from("abcd"), st.integers(1, 40))
def test_turns_of_a_member_that_is_down_go_to_the_next_and_are_made_up_for(names, down, samples):
    others = [name for name in "abcd" if name != down]
    turns = next_turns(names, others, {}, samples)
    rest = [name for name in names if name != down]
    assert turns[: len(rest)] == rest[: len(turns)]
    assert len(turns) == (samples if rest else 0)
    missed = list(islice((name for name in names if name == down), 1))
    if missed and rest and turns[: names.index(down)] == names[: names.index(down)]:
        first = names.index(down)
        assert next_turns(names, "abcd", Counter(turns[: first + 1]), 1) == [down] or len(turns) <= first


def test_splits_are_what_the_schedule_amounts_to():
    assert splits_of("aabbb", [1, 2, 5, 10]) == {1: {"a": 1}, 2: {"a": 2}, 5: {"a": 2, "b": 3}}


MEMBERS = frontier(0.0, 0.5, 1.0)
SCHEDULE = expanded([("frontier@1", 1), ("frontier@0.5", 3), ("frontier@0", 12)])


def follower(budget=16, members=MEMBERS, policy="portfolio", foretells=False, **rest):
    state = RouterState(portfolio=Recommendation(schedule=SCHEDULE), foretells=foretells)
    request = sampling(budget=budget, members=members, router_state=state, stop_after_passes=1, **rest)
    return Session(request, POLICIES[policy]())


@given(st.integers(1, 16), st.integers(0, 9))
def test_a_session_draws_the_schedule_whatever_the_rotation(budget, rotation):
    log = drive(follower(budget, rotation=rotation), lambda _: failed())
    assert [draw.member for draw in log.started] == list(SCHEDULE[:budget])


def test_adaptive_draws_the_schedule_until_its_model_foretells_better_than_that():
    def drawn(**more):
        return Counter(
            draw.member for draw in drive(follower(policy="adaptive", **more), lambda _: failed()).started
        )

    assert drawn() == Counter(SCHEDULE)
    assert drawn(foretells=True) != Counter(SCHEDULE)
    assert drawn(price=1e-6) != Counter(SCHEDULE)  # a schedule cannot tell when to stop


def test_a_request_for_some_members_takes_their_turns_only():
    members = frontier(0.0, 0.5)
    log = drive(follower(6, members), lambda _: failed())
    assert [draw.member for draw in log.started] == ["frontier@0.5"] * 3 + ["frontier@0"] * 3


def test_a_request_for_members_outside_the_schedule_is_split_equally():
    log = drive(follower(6, frontier(1.5, 2.0)), lambda _: failed())
    assert Counter(draw.member for draw in log.started) == {"frontier@1.5": 3, "frontier@2": 3}


@given(st.integers(0, 99))
def test_a_member_that_dies_costs_no_samples(seed):
    dead = {"frontier@0.5"}

    def outcome(draw):
        if draw.member in dead:
            raise Lost
        return failed()

    session = follower(16)
    drive(session, outcome, order=Random(seed))
    assert session.drawn["frontier@0.5"] == 0
    assert session.drawn.total() == 16


def test_at_temperature_0_every_member_is_drawn_once():
    session = follower(16, greedy=True)
    log = drive(session, lambda _: failed())
    assert log.started[0].member == "frontier@1"
    assert Counter(draw.member for draw in log.started) == {member.name: 1 for member in MEMBERS}


def test_the_first_wave_has_one_sample_for_each_member_at_the_schedules_front():
    schedule = tuple("aabbccaabbccddaa" + "e" * 20)
    assert Recommendation(schedule).first_wave("abcde") == 4
    assert Recommendation(schedule).first_wave("ax") == 1
    assert Recommendation(schedule).first_wave("xy") == 0
    assert Recommendation().first_wave("ab") == 0
    members = frontier(*range(9))
    options = {"members": members, "budget": 32, "stop_after_passes": 1}
    assert len(Session(sampling(**options, first_wave=4), POLICIES["portfolio"]()).step()) == 4
    assert len(Session(sampling(**options), POLICIES["portfolio"]()).step()) == 9
