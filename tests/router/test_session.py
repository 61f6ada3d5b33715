from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alpharay.router import POLICIES, Candidate, Stop
from alpharay.router.session import GIVE_UP_AFTER

from .driver import (
    FIVE,
    ByHand,
    Lost,
    accepted,
    by_seed,
    drive,
    failed,
    frontier,
    make_session,
    rates,
    sampling,
)

BUDGETS = st.integers(1, 60)
MEMBERS = st.integers(1, 6).map(lambda count: frontier(*range(count)))
ORDERS = st.integers(0, 2**32).map(Random)
SHARES = st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0])
NAMES = st.sampled_from(sorted(POLICIES))


def never(_):
    return failed()


def wave_of(session):
    """The next wave, observed as failed."""
    wave = session.next_wave()
    for draw in wave:
        session.observe(Candidate(draw=draw, verdict=failed()))
    return wave


# What is spent


@given(BUDGETS, MEMBERS, SHARES, ORDERS, st.integers(0, 99))
def test_a_uniform_budget_is_split_fairly_over_all_its_waves(budget, members, share, order, rotation):
    session = make_session(budget=budget, members=members, stop_after_passes=budget, rotation=rotation)
    drive(session, by_seed(share), order=order)
    counts = [session.drawn[member.name] for member in members]
    assert sum(counts) == budget
    assert max(counts) - min(counts) <= 1


@given(NAMES, BUDGETS, MEMBERS, ORDERS)
def test_a_budget_that_nothing_stops_early_is_spent_to_the_sample(policy, budget, members, order):
    session = make_session(policy, budget=budget, members=members)
    log = drive(session, order=order)
    assert len(log.started) == len(session.candidates) == budget
    assert session.stopped is Stop.BUDGET


@given(NAMES, BUDGETS, MEMBERS, SHARES, ORDERS, st.integers(0, 9), st.booleans())
def test_no_seed_is_drawn_twice_when_nothing_is_lost(
    policy, budget, members, share, order, seed, reproducible
):
    session = make_session(
        policy, budget=budget, members=members, seed=seed, stop_after_passes=2, reproducible=reproducible
    )
    seeds = [draw.seed for draw in drive(session, by_seed(share), order=order).started]
    assert len(set(seeds)) == len(seeds)


@given(BUDGETS, MEMBERS, ORDERS)
def test_each_member_counts_its_own_samples_from_zero(budget, members, order):
    log = drive(make_session(budget=budget, members=members, stop_after_passes=1), never, order=order)
    for number, member in enumerate(members):
        mine = [draw for draw in log.started if draw.member == member.name]
        assert [draw.sample for draw in mine] == list(range(len(mine)))
        assert all(draw.seed & 0xFFF == draw.sample and draw.seed >> 12 & 0xFF == number for draw in mine)


def test_draws_are_numbered_in_the_order_in_which_they_were_decided():
    log = drive(make_session(budget=23, stop_after_passes=1), never, order=Random(3))
    assert [draw.index for draw in log.started] == list(range(23))


def test_a_budget_below_one_sample_is_refused():
    with pytest.raises(ValueError, match="at least 1 sample, got 0"):
        sampling(budget=0)


def test_a_request_without_members_is_refused():
    with pytest.raises(ValueError, match="at least one member"):
        sampling(members=())


# When to stop


@given(BUDGETS, MEMBERS, SHARES, ORDERS, st.integers(1, 4), st.booleans())
def test_it_stops_at_exactly_the_passes_that_were_asked_for(
    budget, members, share, order, wanted, reproducible
):
    session = make_session(
        budget=budget, members=members, stop_after_passes=wanted, reproducible=reproducible
    )
    drive(session, by_seed(share), order=order)
    assert (session.stopped is Stop.PASSES) == (session.passes == wanted)
    assert session.passes <= wanted


def test_the_first_pass_ends_the_request_while_others_are_under_way():
    session = make_session(budget=20, stop_after_passes=1)
    first, *_ = session.next_wave()
    session.observe(Candidate(draw=first, verdict=accepted()))
    assert session.stopped is Stop.PASSES
    assert session.next_wave() == ()


def test_what_arrives_after_the_stop_does_not_change_the_answer():
    session = make_session(budget=20, stop_after_passes=1)
    first, second, *_ = session.next_wave()
    session.observe(Candidate(draw=first, verdict=accepted()))
    session.observe(Candidate(draw=second, verdict=accepted()))
    assert [candidate.draw for candidate in session.candidates] == [first]
    assert session.passes == 1


def test_unjudged_candidates_never_stop_a_request_early():
    session = make_session(budget=12, stop_after_passes=1)
    drive(session, lambda _: None)
    assert (session.stopped, len(session.candidates)) == (Stop.BUDGET, 12)


def test_without_tests_the_whole_budget_is_one_wave():
    assert drive(make_session(budget=23)).waves == [23]


def test_waves_begin_with_one_sample_a_member_and_double_what_was_spent():
    log = drive(make_session(budget=60, stop_after_passes=1), never)
    assert Counter(draw.member for draw in log.started[:5]) == {member.name: 1 for member in FIVE}
    assert log.waves == [5, 5, 10, 20, 20]


def test_a_wave_draws_at_least_as_many_samples_as_passes_are_wanted():
    assert drive(make_session(budget=60, stop_after_passes=8), never).waves[0] == 8


def test_nothing_is_drawn_while_a_wave_is_under_way():
    session = make_session(budget=20, stop_after_passes=1)
    first, *others = session.next_wave()
    session.observe(Candidate(draw=first, verdict=failed()))
    assert session.next_wave() == ()
    for draw in others:
        session.observe(Candidate(draw=draw, verdict=failed()))
    assert len(session.next_wave()) == 5


# The same request again


@given(NAMES, BUDGETS, MEMBERS, SHARES, ORDERS, ORDERS, st.integers(1, 3), st.integers(0, 9))
def test_a_seeded_request_counts_and_selects_the_same_whatever_arrives_first(
    policy, budget, members, share, one_order, other_order, wanted, salt
):
    request = sampling(
        budget=budget, members=members, seed=salt, stop_after_passes=wanted, reproducible=True, rotation=salt
    )
    runs = []
    for order in (None, one_order, other_order):
        session = ByHand(request, POLICIES[policy]())
        drive(session, by_seed(share, salt), order=order)
        runs.append((session.stopped, session.candidates, session.select()))
    assert runs[0] == runs[1] == runs[2]


def test_a_seeded_request_waits_for_the_draws_before_an_early_pass():
    session = make_session(budget=20, stop_after_passes=1, reproducible=True)
    first, second, *_ = session.next_wave()
    session.observe(Candidate(draw=second, verdict=accepted()))
    assert (session.stopped, session.candidates) == (None, [])
    session.observe(Candidate(draw=first, verdict=failed()))
    assert (session.stopped, [candidate.draw for candidate in session.candidates]) == (
        Stop.PASSES,
        [first, second],
    )


def test_a_seeded_request_does_not_wait_for_a_lost_draw():
    session = make_session(budget=20, stop_after_passes=1, reproducible=True)
    first, second, *_ = session.next_wave()
    session.observe(Candidate(draw=second, verdict=accepted()))
    session.lost(first)
    assert session.stopped is Stop.PASSES


def test_requests_with_different_seeds_share_no_draw():
    seeds = [{draw.seed for draw in drive(make_session(budget=40, seed=seed)).started} for seed in (1, 2)]
    assert not seeds[0] & seeds[1]


# Temperature 0


@given(NAMES, BUDGETS, MEMBERS, ORDERS, st.booleans())
def test_a_greedy_request_draws_each_member_at_most_once(policy, budget, members, order, tested):
    session = make_session(
        policy, budget=budget, members=members, greedy=True, stop_after_passes=1 if tested else None
    )
    log = drive(session, never, order=order)
    assert max(Counter(draw.member for draw in log.started).values()) == 1
    assert len(log.started) == session.sampling.effective_budget == min(budget, len(members))


def test_a_greedy_request_asks_others_in_place_of_a_lost_member():
    lost = FIVE[0].name

    def outcome_class(draw):
        if draw.member == lost:
            raise Lost

    session = make_session(budget=3, greedy=True)
    drive(session, outcome_class)
    assert len(session.candidates) == 3
    assert session.drawn[lost] == 0


def test_a_greedy_request_over_all_members_ends_without_the_one_that_was_given_up():
    lost = FIVE[0].name

    def outcome_class(draw):
        if draw.member == lost:
            raise Lost

    session = make_session(budget=16, greedy=True)
    log = drive(session, outcome_class)
    assert (session.stopped, len(session.candidates)) == (Stop.BUDGET, 4)
    assert len(log.lost) == GIVE_UP_AFTER


# Losses


class Faulty:
    """Loses some draws by chance, and every draw of some members."""

    def __init__(self, dice, share, dead=()):
        self.dice, self.share, self.dead = dice, share, dead

    def __call__(self, draw):
        if draw.member in self.dead or self.dice.random() < self.share:
            raise Lost
        return failed()


@given(
    NAMES,
    BUDGETS,
    MEMBERS,
    ORDERS,
    st.sampled_from([0.05, 0.3, 0.9, 1.0]),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_every_session_ends_whatever_is_lost(
    policy, budget, members, order, share, greedy, reproducible, data
):
    dead = data.draw(st.sets(st.sampled_from([member.name for member in members])))
    session = make_session(
        policy, budget=budget, members=members, greedy=greedy, reproducible=reproducible, stop_after_passes=1
    )
    log = drive(session, Faulty(order, share, dead), order=order)
    assert session.stopped is Stop.BUDGET
    assert len(session.candidates) == len(log.finished) <= session.sampling.effective_budget


@given(BUDGETS, MEMBERS, ORDERS, st.sampled_from([0.0, 0.05, 0.3]), st.data())
def test_no_finished_sample_was_paid_for_twice(budget, members, order, share, data):
    dead = data.draw(st.sets(st.sampled_from([member.name for member in members])))
    log = drive(make_session(budget=budget, members=members), Faulty(order, share, dead), order=order)
    seeds = [draw.seed for draw in log.finished]
    assert len(set(seeds)) == len(seeds)


@given(BUDGETS, MEMBERS.filter(lambda members: len(members) > 1), ORDERS)
def test_the_samples_of_a_dead_member_go_to_the_others(budget, members, order):
    dead = members[0].name
    session = make_session(budget=budget, members=members)
    drive(session, Faulty(order, 0, {dead}), order=order)
    assert len(session.candidates) == budget
    assert session.drawn[dead] == 0


def test_a_lost_sample_goes_to_another_member_at_once():
    session = make_session(budget=5)
    first, *_ = session.next_wave()
    session.lost(first)
    (again,) = session.next_wave()
    assert again.member != first.member


def test_a_revived_member_draws_its_lost_samples_with_their_own_seeds_first():
    alone = FIVE[:1]
    session = make_session(budget=4, members=alone)
    draws = session.next_wave()
    for draw in draws[1:3]:
        session.lost(draw)
    session.observe(Candidate(draw=draws[0]))
    session.observe(Candidate(draw=draws[3]))
    assert session.stalled
    session.revive()
    assert [draw.seed for draw in session.next_wave()] == [draw.seed for draw in draws[1:3]]


def test_a_session_is_not_stalled_while_something_is_under_way():
    session = make_session(budget=4, members=FIVE[:1])
    first, *others = session.next_wave()
    session.lost(first)
    assert not session.stalled
    for draw in others:
        session.lost(draw)
    assert session.next_wave() == ()


def test_a_member_that_keeps_failing_is_given_up_and_the_session_ends():
    session = make_session(budget=1, members=FIVE[:1])
    log = drive(session, Faulty(Random(1), 1.0))
    assert (session.stopped, session.candidates) == (Stop.BUDGET, [])
    assert len(log.lost) == GIVE_UP_AFTER


def test_a_member_that_was_given_up_is_not_drawn_again_when_it_is_revived():
    session = make_session(budget=1, members=FIVE[:2])
    for _ in range(GIVE_UP_AFTER):
        (draw,) = session.next_wave()
        assert draw.member == FIVE[0].name
        session.lost(draw)
        session.revive()
    (draw,) = session.next_wave()
    assert draw.member == FIVE[1].name


def test_single_moves_on_to_the_next_best_member_when_its_own_is_lost():
    router_state = rates(**{"frontier@0": (9, 10), "frontier@1": (5, 10)})
    session = make_session("single", budget=4, members=frontier(0.0, 1.0), router_state=router_state)
    drive(session, Faulty(Random(1), 0, {"frontier@0"}))
    assert session.drawn == Counter({"frontier@1": 4, "frontier@0": 0})


# The deadline


@given(BUDGETS, MEMBERS, ORDERS, st.integers(0, 30), st.booleans())
def test_at_the_deadline_all_that_arrived_counts(budget, members, order, arrived, reproducible):
    session = make_session(budget=budget, members=members, reproducible=reproducible, stop_after_passes=1)
    log = drive(session, never, order=order, expire_after=arrived)
    assert {candidate.draw for candidate in session.candidates} == set(log.finished)
    assert session.stopped is (Stop.BUDGET if len(log.finished) == budget and arrived else Stop.DEADLINE)


def test_a_pass_that_waited_for_earlier_draws_still_counts_at_the_deadline():
    session = make_session(budget=20, stop_after_passes=1, reproducible=True)
    _, second, *_ = session.next_wave()
    session.observe(Candidate(draw=second, verdict=accepted()))
    session.expire()
    assert (session.stopped, session.passes) == (Stop.PASSES, 1)


def test_a_deadline_after_the_stop_changes_nothing():
    session = make_session(budget=5)
    drive(session)
    before = list(session.candidates)
    session.expire()
    assert (session.stopped, session.candidates) == (Stop.BUDGET, before)


def test_the_selection_is_best_first():
    session = make_session(budget=5, stop_after_passes=5)
    verdicts = [failed(0), failed(2), accepted(), None, failed(3)]
    for draw, verdict in zip(session.next_wave(), verdicts, strict=True):
        session.observe(Candidate(draw=draw, verdict=verdict))
    assert [candidate.draw.index for candidate in session.select()] == [2, 4, 1, 3, 0]


# Anything in any order


class AnyInterleaving(RuleBasedStateMachine):
    """Waves, arrivals, losses, revivals and the deadline in any order a driver could bring them in."""

    @initialize(
        policy=NAMES,
        budget=st.integers(1, 25),
        members=MEMBERS,
        wanted=st.none() | st.integers(1, 3),
        greedy=st.booleans(),
        reproducible=st.booleans(),
    )
    def begin(self, policy, budget, members, wanted, greedy, reproducible):
        self.session = make_session(
            policy,
            budget=budget,
            members=members,
            stop_after_passes=wanted,
            greedy=greedy,
            reproducible=reproducible,
        )
        self.under_way, self.seen = [], []

    @rule()
    def wave(self):
        had_stopped = self.session.stopped
        wave = self.session.next_wave()
        assert not (had_stopped and wave)
        self.under_way += wave

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), verdict=st.sampled_from([None, failed(), failed(3), accepted()]))
    def observe(self, data, verdict):
        draw = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(draw)
        self.seen.append(draw)
        self.session.observe(Candidate(draw=draw, verdict=verdict))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def lose(self, data):
        draw = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(draw)
        self.session.lost(draw)

    @rule()
    def revive(self):
        self.session.revive()

    @precondition(lambda self: len(self.seen) > 3)
    @rule()
    def expire(self):
        self.session.expire()
        assert self.session.stopped

    @invariant()
    def the_budget_is_never_overspent(self):
        if hasattr(self, "session"):
            live = len(self.under_way) + len(self.seen)
            assert self.session.drawn.total() == live <= self.session.sampling.effective_budget

    @invariant()
    def live_seeds_never_repeat(self):
        if hasattr(self, "session"):
            seeds = [draw.seed for draw in (*self.under_way, *self.seen)]
            assert len(set(seeds)) == len(seeds)

    @invariant()
    def only_what_arrived_counts_and_only_once(self):
        if hasattr(self, "session"):
            counted = [candidate.draw for candidate in self.session.candidates]
            assert len({draw.index for draw in counted}) == len(counted)
            assert all(draw in self.seen for draw in counted)

    @invariant()
    def passes_are_never_more_than_wanted(self):
        if hasattr(self, "session") and self.session.sampling.stop_after_passes:
            assert self.session.passes <= self.session.sampling.stop_after_passes


TestAnyInterleaving = AnyInterleaving.TestCase


def test_a_seeded_request_draws_the_same_seeds_again():
    request = sampling(budget=16, seed=7, reproducible=True)
    first, second = (drive(ByHand(request, POLICIES["uniform"]())).started for _ in range(2))
    assert first == second
    other = drive(ByHand(replace(request, seed=8), POLICIES["uniform"]())).started
    assert not {draw.seed for draw in first} & {draw.seed for draw in other}


@pytest.mark.parametrize("policy", ["adaptive", "bandit"])
@pytest.mark.parametrize("reproducible", [False, True])
@pytest.mark.parametrize("greedy", [False, True])
def test_at_any_price_an_answer_has_its_choices(policy, reproducible, greedy):
    session = ByHand(
        sampling(
            budget=12, least=3, price=1e3, stop_after_passes=3, reproducible=reproducible, greedy=greedy
        ),
        POLICIES[policy](),
    )
    log = drive(session, never)
    assert (len(log.finished), session.stopped) == (3, Stop.COST)
