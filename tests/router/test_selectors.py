"""Selectors by evidence: consensus against a brute-force passing matrix, ties, missing evidence, permutations."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.router import SELECTORS, Candidate, Draw, Evidence, ranked
from alpharay.router.selection import answers, consensus

from .driver import accepted, failed

BEHAVIOURS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", None]), max_size=4).map(tuple), min_size=1, max_size=7
)
LOGPROBS = st.none() | st.floats(-9, 0) | st.just(math.nan)


def candidate(index, verdict=None, **evidence):
    draw = Draw(index=index, member="m", sample=index, seed=index)
    return Candidate(draw=draw, verdict=verdict, evidence=Evidence(**evidence))


CANDIDATES = st.lists(
    st.tuples(
        st.sampled_from([None, accepted(), failed(0), failed(2)]),
        st.lists(st.sampled_from(["a", "b", None]), max_size=3).map(tuple),
        LOGPROBS,
        st.sampled_from(["1", "2", None]),
    ),
    max_size=7,
).map(
    lambda rows: [
        candidate(index, verdict, behaviour=behaviour, logprob=logprob, answer=answer)
        for index, (verdict, behaviour, logprob, answer) in enumerate(rows)
    ]
)


def order(selector, *candidates):
    return [candidate.draw.index for candidate in ranked(candidates, selector)]


def behaving(*behaviours):
    return [candidate(index, behaviour=tuple(behaviour)) for index, behaviour in enumerate(behaviours)]


def passing_matrix(behaviours):
    """E as the papers write it: candidates by tests, each output that somebody gave being a test."""
    tests = [
        (column, output)
        for behaviour in behaviours
        for column, output in enumerate(behaviour)
        if output is not None
    ]
    return [
        [column < len(row) and row[column] == output for column, output in tests] for row in behaviours
    ], len(tests)


@given(BEHAVIOURS)
def test_agreement_counts_what_the_whole_matrix_shows(behaviours):
    matrix, tests = passing_matrix(behaviours)
    agreement = consensus.agreement(behaviours)
    assert sorted(index for members in agreement.sets for index in members) == list(range(len(behaviours)))
    assert agreement.tests == tests
    for members, passes, right, wrong in zip(
        agreement.sets, agreement.passes, agreement.right, agreement.wrong, strict=True
    ):
        rows = [matrix[index] for index in members]
        assert all(row == rows[0] for row in rows)
        others = [row for index, row in enumerate(matrix) if index not in members]
        assert passes == sum(rows[0])
        assert right == sum(cell for row in others for cell, ours in zip(row, rows[0], strict=True) if ours)
        assert wrong == sum(
            cell for row in others for cell, ours in zip(row, rows[0], strict=True) if not ours
        )
        assert passes == 0 or all(row != rows[0] for row in others)


def log_integral(successes, trials, a, b):
    """ln of the integral of t^s (1-t)^(n-s) t^(a-1) (1-t)^(b-1) dt over [0, 1], by brute force."""
    steps = 20_000
    points = ((step + 0.5) / steps for step in range(steps))
    logs = [
        (successes + a - 1) * math.log(t) + (trials - successes + b - 1) * math.log(1 - t) for t in points
    ]
    top = max(logs)
    return top + math.log(sum(math.exp(each - top) for each in logs) / steps)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (3.0, 5.0)])
def test_b4_is_the_papers_product_of_four_integrals(a, b):
    behaviours = [("1", "2"), ("1", "2"), ("1", "3"), ("4", None), ()]
    matrix, tests = passing_matrix(behaviours)
    agreement = consensus.agreement(behaviours)
    for members, score in zip(agreement.sets, consensus.b4(agreement, alpha_xy=a, beta_0=b), strict=True):
        ours = matrix[members[0]]
        cells = {True: [], False: []}
        for index, test in product(range(len(behaviours)), range(tests)):
            if index not in members:
                cells[ours[test]].append(matrix[index][test])
        expected = (
            log_integral(sum(ours), tests, a, 1)
            + log_integral(len(members), len(behaviours), a, 1)
            + log_integral(sum(cells[True]), len(cells[True]), 1, 1)
            + log_integral(sum(cells[False]), len(cells[False]), 1, b)
        )
        assert score == pytest.approx(expected, abs=0.01)


def test_codet_is_tests_times_the_root_of_solutions():
    agreement = consensus.agreement([("a", "a"), ("a", "b"), ("a", "b"), (None, None)])
    # The first passes 3 tests claiming a on the first input, and its own on the second.
    assert dict(zip(agreement.sets, consensus.codet(agreement), strict=True)) == {
        (0,): 4.0,
        (1, 2): 5 * math.sqrt(2),
        (3,): 0.0,
    }


@pytest.mark.parametrize("selector", ["cluster", "codet", "b4", "tests"])
def test_the_largest_group_that_behaves_alike_wins(selector):
    assert order(selector, *behaving("ab", "cd", "ee", "cd", "")) == [1, 3, 0, 2, 4]


@pytest.mark.parametrize("selector", ["cluster", "codet", "b4", "tests"])
def test_agreeing_on_giving_nothing_is_worth_nothing(selector):
    nothing = [(None, None)] * 5
    assert order(selector, *behaving(*nothing, "ab"))[0] == 5


@pytest.mark.parametrize("selector", ["cluster", "codet", "b4", "tests"])
def test_passing_the_tests_counts_before_agreeing(selector):
    many = [candidate(index, failed(3), behaviour=("x",)) for index in range(4)]
    assert order(selector, *many, candidate(4, accepted(), behaviour=("y",)))[0] == 4


def test_codet_prefers_those_that_most_others_partly_support():
    """Two pairs of equal size: one shares an output with a lone third."""
    assert order("codet", *behaving("ab", "ab", "cd", "cd", "ce"))[:2] == [2, 3]
    assert order("b4", *behaving("ab", "ab", "cd", "cd", "ce"))[:2] == [2, 3]


def test_ties_within_a_group_go_to_the_likeliest_then_to_the_first_drawn():
    alike = [
        candidate(index, behaviour=("a",), logprob=logprob)
        for index, logprob in enumerate((-2, None, -1, -1))
    ]
    assert order("cluster", *alike) == order("tests", *alike) == [2, 3, 0, 1]


def test_majority_counts_answers_and_never_those_that_give_none():
    rows = [candidate(index, answer=answer) for index, answer in enumerate((None, "7", None, "3", "7", None))]
    assert order("majority", *rows)[:2] == [1, 4]


def test_logprob_ranks_by_the_mean_and_puts_the_unknown_last():
    rows = [candidate(index, logprob=value) for index, value in enumerate((-1.5, None, -0.5, math.nan))]
    assert order("logprob", *rows) == [2, 0, 1, 3]


def test_self_certainty_counts_only_where_all_tell_it():
    rows = [candidate(0, logprob=-1, certainty=2.0), candidate(1, logprob=-2, certainty=3.0)]
    assert order("logprob", *rows) == [1, 0]
    assert order("logprob", *rows, candidate(2, logprob=-0.5)) == [2, 0, 1]


@given(CANDIDATES, st.sampled_from(sorted(SELECTORS)), st.randoms(use_true_random=False))
def test_every_selector_ranks_each_candidate_once_whatever_the_order_of_arrival(candidates, selector, dice):
    arrived = list(candidates)
    dice.shuffle(arrived)
    assert order(selector, *arrived) == order(selector, *candidates)
    assert sorted(order(selector, *candidates)) == list(range(len(candidates)))


@given(CANDIDATES, st.sampled_from(["tests", "cluster", "codet", "b4"]))
def test_what_passed_comes_before_what_did_not(candidates, selector):
    router_state = [candidate.accepted for candidate in ranked(candidates, selector)]
    assert router_state == sorted(router_state, reverse=True)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So x = 3.\nThe answer is 1,000.", "1000"),
        (r"Hence \boxed{\frac{1}{2}} holds.", r"\frac{1}{2}"),
        (r"\boxed{3} or rather \boxed{ 4.50 }", "4.5"),
        (r"\boxed{\text{Paris}}", "paris"),
        ("Final answer: **Paris**.", "paris"),
        ("Answer = $0.50", "0.5"),
        ("first\n\nIt is 7\n", "it is 7"),
        ("-0", "0"),
        ("1e5", "1e5"),
        ("\\boxed{never closed", "\\boxed{never closed"),
        ("  \n ", None),
        ("", None),
    ],
)
def test_an_answer_has_one_spelling(text, answer):
    assert answers.normalised(text) == answer


@given(st.text(max_size=60))
def test_any_text_has_at_most_one_short_answer(text):
    answer = answers.normalised(text)
    assert answer is None or 0 < len(answer) <= 200
