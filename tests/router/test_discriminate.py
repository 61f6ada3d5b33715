"""Candidates told apart on written inputs, and by a scorer's decisions: pure."""

import pytest
from hypothesis import given

from alpharay.router import Decision, agreements, contenders, ranked

from .driver import accepted, failed
from .test_selectors import BEHAVIOURS, CANDIDATES, behaving, candidate, order


def test_the_candidate_with_whom_most_agree_where_they_differ_wins():
    # All agree on the first input; the pairs (0, 1) and (2) differ on the others.
    assert order("discriminate", *behaving("abc", "abd", "axc")) == [0, 1, 2]


def test_one_deviation_does_not_take_a_candidate_out_of_its_majority_as_whole_behaviour_does():
    # By whole behaviour the pair at the end is the largest group; answer by answer the first three are the majority.
    alike = behaving("aaax", "aaya", "azaa", "bbbb", "bbbb")
    assert order("cluster", *alike)[0] == 3
    assert order("discriminate", *alike)[0] in (0, 1, 2)


def test_an_input_that_most_cannot_read_says_nothing():
    result = agreements([("a", "p"), ("a", None), ("b", None), ("b", None)])
    assert result.dropped == (1,)
    assert result.discriminating == (0,)


def test_to_crash_where_most_answer_tells_a_candidate_apart():
    result = agreements([("a", "p"), ("a", "p"), ("a", None)])
    assert result.discriminating == (1,)
    assert result.worth == (1.0, 1.0, 0.0)


def test_what_passes_is_before_all_that_agree():
    lone, *others = behaving("x", "a", "a")
    assert order("discriminate", candidate(0, accepted(), behaviour=("x",)), *others)[0] == 0
    assert contenders([candidate(0, failed(0)), lone, *others]) == [lone, *others]


@given(BEHAVIOURS)
def test_worth_is_a_share_and_alike_candidates_have_the_same(behaviours):
    result = agreements([tuple(each) for each in behaviours])
    assert all(0 <= worth <= 1 for worth in result.worth)
    of = {}
    for behaviour, worth in zip(behaviours, result.worth, strict=True):
        assert of.setdefault(tuple(behaviour), worth) == worth


@given(CANDIDATES)
@pytest.mark.parametrize("selector", ["discriminate", "scorer"])
def test_every_candidate_is_ranked_once_and_passers_first(selector, candidates):
    chosen = ranked(candidates, selector)
    assert sorted(each.draw.index for each in chosen) == list(range(len(candidates)))
    passing = [each.accepted for each in chosen]
    assert passing == sorted(passing, reverse=True)


def test_a_scorer_moves_what_it_accepts_up_and_what_it_rejects_down():
    decisions = [Decision.REJECT, None, Decision.TIE, Decision.ACCEPT, Decision.ABSTAIN]
    rows = [candidate(index, decision=decision) for index, decision in enumerate(decisions)]
    assert order("scorer", *rows) == [3, 1, 2, 4, 0]
