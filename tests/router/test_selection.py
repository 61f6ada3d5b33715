from hypothesis import given
from hypothesis import strategies as st

from alpharay.judge.verdict import VerdictKind
from alpharay.router import Candidate, Draw, ranked

from .driver import accepted, failed

KINDS = st.sampled_from([kind for kind in VerdictKind if kind is not VerdictKind.ACCEPTED])
VERDICTS = st.none() | st.just(accepted()) | st.builds(failed, st.integers(0, 3), st.just(4), KINDS)


def candidates(*verdicts):
    return [
        Candidate(draw=Draw(index=index, member="m", sample=index, seed=index), verdict=verdict)
        for index, verdict in enumerate(verdicts)
    ]


def order(*verdicts):
    return [candidate.draw.index for candidate in ranked(candidates(*verdicts))]


def test_an_accepted_candidate_comes_before_all_others():
    assert order(failed(3), None, accepted()) == [2, 0, 1]


def test_failed_candidates_come_in_the_order_of_the_share_they_passed():
    assert order(failed(1, 4), failed(3, 4), failed(1, 2)) == [1, 2, 0]


def test_a_candidate_that_was_never_judged_comes_before_one_that_failed_outright():
    assert order(failed(0), None) == [1, 0]


def test_a_candidate_that_was_never_judged_comes_after_one_that_passed_something():
    assert order(None, failed(1)) == [1, 0]


def test_a_fault_of_the_judge_does_not_raise_a_candidate_above_one_that_failed():
    assert order(failed(0), failed(0, kind=VerdictKind.JUDGE_ERROR), None) == [2, 0, 1]


def test_of_equals_the_first_drawn_wins():
    assert order(accepted(), failed(2), accepted(), failed(2)) == [0, 2, 1, 3]


@given(st.lists(VERDICTS, max_size=8).flatmap(lambda all_: st.permutations(candidates(*all_))))
def test_the_order_of_arrival_does_not_change_the_selection(arrived):
    in_order = sorted(arrived, key=lambda candidate: candidate.draw.index)
    assert ranked(arrived) == ranked(in_order)


@given(st.lists(VERDICTS, max_size=8))
def test_every_candidate_is_ranked_once(verdicts):
    assert sorted(order(*verdicts)) == list(range(len(verdicts)))


def test_the_score_is_the_share_of_the_tests_that_passed():
    partly, whole, unjudged = candidates(failed(1, 4), accepted(), None)
    assert (partly.score, whole.score, unjudged.score) == (0.25, 1.0, 0.0)
