import json
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpharay.judge.verdict import VerdictKind
from alpharay.router import POLICIES, Learner, LoggedOutcome, Session, Source
from alpharay.router.learn.features import DIMENSION

from .driver import FIVE, by_seed, drive, sampling

KINDS = [
    VerdictKind.ACCEPTED, VerdictKind.WRONG_ANSWER, VerdictKind.TIME_LIMIT,
    VerdictKind.RUNTIME_ERROR, VerdictKind.JUDGE_ERROR,
]  # fmt: skip


def row(request="r", draw=0, member=0, verdict=VerdictKind.ACCEPTED, **rest):
    return LoggedOutcome(
        request=request,
        draw=draw,
        member=FIVE[member].name,
        alpha=FIVE[member].alpha,
        verdict=verdict,
        **rest,
    )


def log(rows, seed=0):
    """As a server would write it: requests interleaved, draws counted per request, turns and feedback among them."""
    dice, outcomes, drawn = Random(seed), [], {}
    for number in range(rows):
        request = f"r{max(0, number // 6 - dice.randrange(4))}"
        draw = drawn[request] = drawn.get(request, -1) + 1
        later = draw > 2 and dice.random() < 0.2
        outcomes.append(
            row(
                request,
                draw,
                dice.randrange(5),
                dice.choice(KINDS),
                prompt_tokens=50,
                completion_tokens=dice.randrange(1, 90),
                turn=2 if later else 1,
                repaired=dice.choice(KINDS[1:3]) if later else None,
                features=tuple(round(dice.gauss(0, 0.3), 4) for _ in range(DIMENSION)),
            )
        )
        if dice.random() < 0.1:
            corrected = dice.choice(outcomes)
            outcomes.append(replace(corrected, verdict=dice.choice(KINDS), source=Source.FEEDBACK))
    return outcomes


def folded(outcomes, learner=None):
    learner = learner or Learner()
    for logged in outcomes:
        learner.learn(logged)
    return learner


def state(learner):
    return json.dumps(learner.snapshot(), sort_keys=True)


def test_two_replicas_that_fold_the_same_log_come_to_the_same_state():
    assert state(folded(log(400))) == state(folded(log(400)))


@settings(max_examples=6)
@given(st.integers(0, 200), st.integers(0, 99))
def test_a_snapshot_and_the_rows_after_it_come_to_what_the_whole_log_comes_to(cut, seed):
    outcomes = log(200, seed)
    kept = json.loads(json.dumps(folded(outcomes[:cut]).snapshot()))
    fresh = Learner()
    fresh.restore(kept)
    assert state(folded(outcomes[cut:], fresh)) == state(folded(outcomes))


def test_a_router_state_never_changes_once_it_is_handed_out():
    learner = folded(log(300))
    router_state = learner.router_state()
    first, second = Session(sampling(budget=20, router_state=router_state), POLICIES["adaptive"]()), None
    draws = first.step()
    folded(log(300, seed=5), learner)
    second = Session(sampling(budget=20, router_state=router_state), POLICIES["adaptive"]())
    assert second.step() == draws
    assert learner.router_state() is not router_state


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_recorded_request_is_decided_again_as_it_was(policy):
    outcomes = log(300)
    features = outcomes[7].features
    runs = []
    for _ in range(2):
        router_state = folded(outcomes[:200]).router_state()
        request = sampling(
            budget=30, stop_after_passes=2, router_state=router_state, features=features, turns=2, price=1e-6
        )
        session = Session(request, POLICIES[policy]())
        runs.append(
            (drive(session, by_seed(0.05), order=Random(3)).started, session.candidates, session.stopped)
        )
    assert runs[0] == runs[1]
    assert router_state.folded == 200


def test_counts_are_of_first_attempts_that_were_judged():
    learner = folded(
        [
            row(draw=0),
            row(draw=1, verdict=VerdictKind.WRONG_ANSWER),
            row(draw=2, verdict=VerdictKind.JUDGE_ERROR),
            row(draw=3, turn=2, repaired=VerdictKind.WRONG_ANSWER),
        ]
    )
    router_state = learner.router_state()
    assert (router_state.solved, router_state.judged) == ({FIVE[0].name: 1}, {FIVE[0].name: 2})
    assert router_state.turns.repaired == {VerdictKind.WRONG_ANSWER: (1, 1)}
    assert router_state.folded == 4


def test_draws_after_a_failure_teach_what_drawing_again_pays():
    learner = folded(
        [
            row(draw=0, verdict=VerdictKind.WRONG_ANSWER),
            row(draw=1, verdict=VerdictKind.TIME_LIMIT),
            row(draw=2),
        ]
    )
    assert learner.router_state().turns.again == {
        VerdictKind.WRONG_ANSWER: (1, 2),
        VerdictKind.TIME_LIMIT: (1, 1),
    }


def test_feedback_corrects_the_judge_and_is_no_second_sample():
    wrong = row(verdict=VerdictKind.WRONG_ANSWER, features=(0.1,) * DIMENSION)
    feedback = replace(wrong, verdict=VerdictKind.ACCEPTED, source=Source.FEEDBACK)
    corrected, straight = folded([wrong, feedback, feedback]), folded([feedback])
    first, second = corrected.router_state(), straight.router_state()
    assert (
        (first.solved, first.judged)
        == (second.solved, second.judged)
        == ({FIVE[0].name: 1}, {FIVE[0].name: 1})
    )
    np.testing.assert_allclose(
        first.arms[FIVE[0].name].targets, second.arms[FIVE[0].name].targets, atol=1e-12
    )
    assert corrected.snapshot()["window"][0][1] == straight.snapshot()["window"][0][1]


def test_the_state_is_bounded_whatever_was_folded(monkeypatch):
    monkeypatch.setattr("alpharay.router.learn.learner._WINDOW", 40)
    monkeypatch.setattr("alpharay.router.learn.learner._CORRECTABLE", 100)
    sizes = []
    learner = Learner()
    for part in range(3):
        folded([row(f"{part} {n}", 0, n % 5, KINDS[n % 4]) for n in range(300)], learner)
        sizes.append(len(state(learner)))
    assert sizes[2] < 1.05 * sizes[1]


def test_a_snapshot_of_another_version_is_refused():
    with pytest.raises(ValueError, match="fold the log"):
        Learner().restore(Learner().snapshot() | {"version": 1})


def test_a_learner_restores_over_whatever_it_had():
    learner = folded(log(100))
    learner.restore(Learner().snapshot())
    assert state(learner) == state(Learner())


def test_what_was_learnt_is_forgotten_where_it_foretells_worse_than_nothing():
    def rows(first, count, best):
        outcome_classes = {True: KINDS[0], False: KINDS[1]}
        return [
            row(f"{first + n}", 3 * member + time, member, outcome_classes[member == best])
            for n in range(count)
            for member in range(5)
            for time in range(3)
        ]

    learner = folded(rows(0, 60, best=0))
    before = learner.router_state().mixture.rates[:, :, 0].mean(axis=0)
    folded(rows(60, 60, best=4), learner)
    after = learner.router_state().mixture.rates[:, :, 0].mean(axis=0)
    assert before.argmax() == 0
    assert after.argmax() == 4
    assert after[0] < 0.3


@pytest.mark.parametrize("telling", [True, False])
def test_the_model_foretells_better_than_a_schedule_only_where_failures_tell_something(telling):
    """Half of the problems are solved at 4, half at 0. Where failures tell, they fail slowly at the other of the two."""
    dice, rows = Random(5), []
    for n in range(150):
        solver = dice.choice((0, 4))
        for draw in range(16):
            member = dice.choice((0, 4))
            solved = member == solver and dice.random() < 0.3
            slow = solver == 4 if telling else dice.random() < 0.5
            failure = VerdictKind.TIME_LIMIT if slow else VerdictKind.WRONG_ANSWER
            rows.append(row(f"{n}", draw, member, VerdictKind.ACCEPTED if solved else failure))
    learner = folded(rows)
    assert learner.router_state().foretells is telling
    again = Learner()
    again.restore(json.loads(json.dumps(learner.snapshot())))
    assert again.router_state().foretells is telling
