import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.judge.verdict import CORRECTNESS_FAILURES, EFFICIENCY_FAILURES, Verdict, VerdictKind
from alpharay.router import Candidate, Draw, LoggedOutcome, OutcomeClass, Source, logged_outcome_of

KINDS = st.sampled_from(list(VerdictKind))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
EXPERIENCES = st.builds(
    LoggedOutcome,
    request=st.text(max_size=9),
    draw=st.integers(0, 600),
    member=st.text(max_size=9),
    alpha=FINITE,
    verdict=KINDS,
    failed_level=st.none() | st.integers(-3, 9),
    turn=st.integers(1, 3),
    repaired=st.none() | KINDS,
    features=st.lists(st.floats(-1e6, 1e6), max_size=5).map(tuple),
    source=st.sampled_from(list(Source)),
)


@given(EXPERIENCES)
def test_a_logged_outcome_comes_back_from_json_exactly(logged):
    assert LoggedOutcome.from_json(json.loads(json.dumps(logged.to_json()))) == logged


def test_what_a_later_version_wrote_beside_is_let_pass():
    row = LoggedOutcome(request="r", draw=0, member="m", alpha=0.0, verdict=VerdictKind.ACCEPTED)
    assert LoggedOutcome.from_json(row.to_json() | {"mood": 3}) == row


@pytest.mark.parametrize(
    "bad", [{"alpha": float("nan")}, {"features": (float("inf"),)}, {"features": (1e300,)}]
)
def test_numbers_that_are_none_are_refused_before_they_reach_the_log(bad):
    row = LoggedOutcome(request="r", draw=0, member="m", alpha=0.0, verdict=VerdictKind.ACCEPTED)
    with pytest.raises(ValueError, match="finite"):
        replace(row, **bad)


def test_every_verdict_has_a_fate_but_the_judges_own_error():
    outcome_classes = {kind: OutcomeClass.of(kind) for kind in VerdictKind}
    assert {
        kind for kind in outcome_classes if outcome_classes[kind] is OutcomeClass.INCORRECT
    } == CORRECTNESS_FAILURES
    assert {
        kind for kind in outcome_classes if outcome_classes[kind] is OutcomeClass.INEFFICIENT
    } == EFFICIENCY_FAILURES
    assert [kind for kind in outcome_classes if outcome_classes[kind] is None] == [VerdictKind.JUDGE_ERROR]


def test_a_candidate_without_a_verdict_teaches_nothing():
    draw = Draw(index=0, member="m", sample=0, seed=1)
    for verdict in (None, Verdict(VerdictKind.JUDGE_ERROR, 0, 2)):
        assert logged_outcome_of(Candidate(draw=draw, verdict=verdict), request="r", alpha=0.0) is None
    judged = Candidate(draw=draw, verdict=Verdict(VerdictKind.TIME_LIMIT, 1, 2), completion_tokens=9)
    assert logged_outcome_of(judged, request="r", alpha=0.5, failed_level=2) == LoggedOutcome(
        request="r", draw=0, member="m", alpha=0.5, verdict=VerdictKind.TIME_LIMIT, passed=1, total=2,
        failed_level=2, completion_tokens=9,
    )  # fmt: skip
