"""A recorded request takes the same decisions again."""

from __future__ import annotations

import json
from random import Random

import pytest

from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router import (
    POLICIES,
    Candidate,
    Down,
    Expired,
    Lost,
    Member,
    Revived,
    RouterState,
    SamplingRequest,
    Stop,
)
from alpharay.serve.learn.recording import RecordedSession, drawn, folded_of, replayed

MEMBERS = tuple(Member(name=f"frontier@{alpha:g}", alpha=alpha) for alpha in (-0.5, 0.0, 0.5, 1.0, 1.5))
KINDS = [VerdictKind.WRONG_ANSWER, VerdictKind.TIME_LIMIT, VerdictKind.JUDGE_ERROR, VerdictKind.RUNTIME_ERROR]


def lived_through(dice, policy, *, share=0.1, **overrides):
    """A session under weather: draws end in any order, some are lost, some are never judged, time may run out."""
    settings = {
        "members": MEMBERS,
        "budget": 24,
        "seed": dice.randrange(1 << 60),
        "stop_after_passes": 2,
        **overrides,
    }
    session = RecordedSession(SamplingRequest(**settings), policy)
    under_way, steps, events = [], 0, []
    while not isinstance(draws := session.step(events), Stop):
        under_way += draws
        steps += 1
        assert steps < 5000
        if steps > 40 and dice.random() < 0.02:
            events = [Expired(tuple(Candidate(draw=draw) for draw in under_way[:2]))]
        elif not under_way:
            events = [Revived()]
        elif dice.random() < 0.02:
            events = [Down((dice.choice(MEMBERS).name,))]
        else:
            draw = under_way.pop(dice.randrange(len(under_way)))
            if dice.random() < 0.05:
                events = [Lost(draw)]
            else:
                passed = dice.random() < share
                kind = VerdictKind.ACCEPTED if passed else dice.choice(KINDS)
                verdict = (
                    None if dice.random() < 0.1 else Verdict(kind, 4 if passed else dice.randrange(4), 4)
                )
                events = [Candidate(draw=draw, verdict=verdict, prompt_tokens=5, completion_tokens=9)]
    return session


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("reproducible", [False, True])
def test_a_recorded_session_is_decided_again_draw_for_draw(policy, reproducible):
    for seed in range(8):
        dice = Random(f"{policy} {seed}")
        lived = lived_through(
            dice, policy, reproducible=reproducible, turns=dice.choice([1, 2]), rotation=seed
        )
        trace = json.loads(json.dumps(lived.trace({})))
        again = replayed(trace)
        assert again.draws == lived.draws
        assert again.stopped == lived.stopped
        assert again.drawn == lived.drawn
        assert [candidate.draw for candidate in again.candidates] == [
            candidate.draw for candidate in lived.candidates
        ]
        assert [candidate.draw for candidate in again.select()] == [
            candidate.draw for candidate in lived.select()
        ]
        assert json.loads(json.dumps(again.trace({}))) == trace


def test_what_was_known_decides_and_is_named_by_its_place_in_the_log():
    known = RouterState({"frontier@0": 90}, {"frontier@0": 100}, folded=100)
    session = RecordedSession(
        SamplingRequest(members=MEMBERS, budget=4, seed=1, router_state=known), "single"
    )
    assert {draw.member for draw in session.step()} == {"frontier@0"}
    trace = session.trace({})
    assert folded_of(trace) == 100
    assert {draw.member for draw in replayed(trace, known).draws} == {"frontier@0"}
    assert {draw.member for draw in replayed(trace).draws} == {"frontier@1"}


def test_a_draw_can_be_looked_up():
    session = lived_through(Random(3), "uniform", share=0)
    trace = json.loads(json.dumps(session.trace({"frontier@0": "abc"})))
    first = next(candidate for candidate in session.candidates if candidate.draw.member == "frontier@0")
    details = drawn(trace, first.draw.index)
    assert (details["member"], details["alpha"], details["checkpoint"], details["turn"]) == (
        "frontier@0",
        0.0,
        "abc",
        1,
    )
    assert (details["prompt_tokens"], details["completion_tokens"]) == (5, 9)


def test_experiences_carry_the_level_of_the_first_failure():
    session = RecordedSession(
        SamplingRequest(members=MEMBERS[:1], budget=3, seed=1, stop_after_passes=3), "uniform"
    )
    verdict = Verdict(VerdictKind.TIME_LIMIT, 2, 4, failed_case=2)
    session.step([Candidate(draw=draw, verdict=verdict) for draw in session.step()])
    rows = session.experiences("r", [1, 1, 2, 3])
    assert [row.failed_level for row in rows] == [2] * len(rows) == [2, 2, 2]
    assert rows[0].request == "r"


def test_a_member_off_the_line_is_decided_again_and_looked_up_by_its_weights():
    wide = Member(name="frontier@wide", weights=(("init", 0.75), ("high", 0.25)))
    for policy in sorted(POLICIES):
        session = lived_through(Random(5), policy, members=(*MEMBERS, wide), share=0)
        trace = json.loads(json.dumps(session.trace({})))
        again = replayed(trace)
        assert again.draws == session.draws
        assert again.sampling.members == session.sampling.members
    session = lived_through(Random(5), "uniform", members=(wide,), share=0)
    details = drawn(json.loads(json.dumps(session.trace({}))), 0)
    assert (details["alpha"], details["weights"]) == (None, {"init": 0.75, "high": 0.25})
    assert {(row.alpha, row.weights) for row in session.experiences("r")} == {(None, wide.weights)}


def test_a_trace_of_an_earlier_version_has_no_weights():
    session = lived_through(Random(3), "uniform", share=0)
    trace = json.loads(json.dumps(session.trace({})))
    trace["ask"]["members"] = [[name, alpha] for name, alpha, _ in trace["ask"]["members"]]
    assert replayed(trace).draws == session.draws
    assert drawn(trace, 0)["weights"] == {}


def test_a_trace_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version 99"):
        replayed({"version": 99})
