from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.judge.verdict import VerdictKind
from alpharay.router import POLICIES, Candidate, RouterState, Stop
from alpharay.router.learn.turns import TurnRates, repairable, to_repair

from .driver import FIVE, ByHand, accepted, by_seed, drive, failed, frontier, make_session, sampling

NAMES = st.sampled_from(sorted(POLICIES))
ORDERS = st.integers(0, 2**32).map(Random)
REPAIRING_PAYS = TurnRates(
    repaired={VerdictKind.WRONG_ANSWER: (900, 1000)}, again={VerdictKind.WRONG_ANSWER: (0, 1000)}
)
DRAWING_PAYS = TurnRates(
    repaired={VerdictKind.WRONG_ANSWER: (0, 1000)}, again={VerdictKind.WRONG_ANSWER: (900, 1000)}
)


def turned(rates=REPAIRING_PAYS, turns=3, **options):
    return make_session(turns=turns, stop_after_passes=1, router_state=RouterState(turns=rates), **options)


def never(_):
    return failed()


def test_a_failed_attempt_is_repaired_by_its_own_member_in_the_next_turn():
    session = turned(budget=10)
    first = {draw.index: draw for draw in session.next_wave()}
    for draw in first.values():
        session.observe(Candidate(draw=draw, verdict=failed()))
    second = session.next_wave()
    assert len(second) == 5
    for draw in second:
        assert (draw.turn, draw.member) == (2, first[draw.repairs].member)


def test_the_attempt_nearest_to_passing_is_repaired_first():
    session = turned(budget=8, members=frontier(0.0, 1.0), turns=2)
    for draw, passed in zip(session.next_wave(), (1, 3), strict=True):
        session.observe(Candidate(draw=draw, verdict=failed(passed)))
    assert [draw.repairs for draw in session.next_wave()] == [1, 0]


def test_where_drawing_again_pays_nothing_is_repaired():
    log = drive(turned(DRAWING_PAYS, budget=60), never)
    assert {draw.turn for draw in log.started} == {1}


def test_while_nothing_is_known_both_are_tried():
    log = drive(turned(TurnRates(), budget=60), never)
    assert {1, 2} <= {draw.turn for draw in log.started}


def test_with_one_turn_nothing_is_ever_repaired():
    log = drive(turned(turns=1, budget=60), never)
    assert {(draw.turn, draw.repairs) for draw in log.started} == {(1, None)}


@given(NAMES, st.integers(1, 40), st.integers(1, 6), ORDERS, st.integers(1, 3), st.booleans(), st.booleans())
def test_turns_are_paid_from_the_one_budget(policy, budget, members, order, turns, greedy, reproducible):
    session = make_session(
        policy, budget=budget, members=frontier(*range(members)), turns=turns, stop_after_passes=1,
        greedy=greedy, reproducible=reproducible,
    )  # fmt: skip
    log = drive(session, never, order=order)
    assert session.stopped is Stop.BUDGET
    assert len(log.started) == session.drawn.total() <= session.sampling.effective_budget
    assert max(draw.turn for draw in log.started) <= turns
    seeds = [draw.seed for draw in log.started]
    assert len(set(seeds)) == len(seeds)
    repaired = Counter(draw.repairs for draw in log.started if draw.repairs is not None)
    assert not repaired or max(repaired.values()) == 1
    by_index = {draw.index: draw for draw in log.started}
    assert all(draw.turn == by_index[draw.repairs].turn + 1 for draw in log.started if draw.turn > 1)
    if not greedy:
        assert len(log.started) == budget
    else:
        assert max(Counter(draw.member for draw in log.started if draw.turn == 1).values()) == 1


@given(st.integers(1, 60), ORDERS, ORDERS, st.sampled_from([0.0, 0.05, 0.3]), st.integers(2, 3))
def test_a_seeded_request_repairs_the_same_whatever_arrives_first(
    budget, one_order, other_order, share, turns
):
    request = sampling(budget=budget, turns=turns, stop_after_passes=1, reproducible=True)
    runs = []
    for order in (None, one_order, other_order):
        session = ByHand(request, POLICIES["uniform"]())
        drive(session, by_seed(share), order=order)
        runs.append((session.stopped, session.candidates))
    assert runs[0] == runs[1] == runs[2]


def test_at_temperature_0_each_member_repairs_its_only_attempt():
    session = turned(budget=16, greedy=True)
    log = drive(session, never)
    assert Counter((draw.member, draw.turn) for draw in log.started) == {
        (member.name, turn): 1 for member in FIVE for turn in (1, 2, 3)
    }


def test_a_lost_later_turn_is_tried_again():
    session = turned(budget=2, members=FIVE[:1], turns=2)
    (first,) = session.next_wave()
    session.observe(Candidate(draw=first, verdict=failed()))
    (second,) = session.next_wave()
    session.lost(second)
    session.revive()
    (again,) = session.next_wave()
    assert (again.turn, again.repairs) == (2, first.index)


def test_what_the_judge_could_not_judge_is_not_repaired():
    session = turned(budget=20)
    verdicts = [None, failed(kind=VerdictKind.JUDGE_ERROR), failed(kind=VerdictKind.TIME_LIMIT), failed(2)]
    candidates = [
        Candidate(draw=draw, verdict=verdict)
        for draw, verdict in zip(session.next_wave(), verdicts, strict=False)
    ]
    assert [candidate.draw.index for candidate in repairable(candidates, 2)] == [3, 2]


@pytest.mark.parametrize(("repaired", "again"), [((40, 100), (10, 100)), ((10, 100), (40, 100))])
def test_the_better_bet_gets_nearly_all_samples(repaired, again):
    kind = VerdictKind.WRONG_ANSWER
    session = turned(budget=20)
    candidates = [Candidate(draw=draw, verdict=failed()) for draw in session.next_wave()]
    rates = TurnRates({kind: repaired}, {kind: again})
    shares = [len(to_repair(candidates, 5, rates, Random(seed))) / 5 for seed in range(200)]
    share = sum(shares) / len(shares)
    assert share > 0.95 if repaired > again else share < 0.05


# Rolling waves


def test_the_next_wave_starts_while_a_straggler_is_still_out():
    session = make_session(budget=20, stop_after_passes=1)
    straggler, *others = session.next_wave()
    for draw in others[:-1]:
        session.observe(Candidate(draw=draw, verdict=failed()))
    assert session.next_wave() == ()
    session.observe(Candidate(draw=others[-1], verdict=failed()))
    assert len(session.next_wave()) == 5
    session.observe(Candidate(draw=straggler, verdict=accepted()))
    assert session.stopped is Stop.PASSES


def test_a_seeded_request_decides_the_next_wave_after_the_same_draws():
    waves = []
    for first, second in ((3, 4), (4, 3)):
        session = make_session("uniform", budget=20, stop_after_passes=1, reproducible=True)
        wave = session.next_wave()
        for index in (0, 1, 2, first, second):
            session.observe(Candidate(draw=wave[index], verdict=failed()))
        waves.append(session.next_wave())
    assert waves[0] == waves[1]
    assert len(waves[0]) == 5


def test_draws_decided_on_and_not_handed_out_are_not_counted_when_a_pass_comes():
    session = make_session(budget=20, stop_after_passes=1, reproducible=True)
    wave = session.next_wave()
    session.observe(Candidate(draw=wave[4], verdict=accepted()))
    for draw in wave[:4]:
        session.observe(Candidate(draw=draw, verdict=failed()))
    assert (session.stopped, session.drawn.total(), session.next_wave()) == (Stop.PASSES, 5, ())
