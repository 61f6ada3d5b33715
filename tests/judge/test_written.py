"""Inputs in a model's answer, read as data."""

import pytest

from alpharay.judge import CallTests, StdioTests
from alpharay.judge.behaviour import input_form, written_inputs
from alpharay.judge.behaviour.written import LONGEST
from alpharay.judge.problem import CallCase, CodeTests, StdioCase

STDIO, CALL = StdioTests(()), CallTests("f", ())


def texts(tests):
    return [case.input for case in tests.cases]


def test_each_block_is_an_input_of_a_program():
    answer = "First:\n```\n3\n1 2 3\n```\nand\n```text\n1\n5\n```\n"
    assert texts(written_inputs([answer], STDIO, 9)) == ["3\n1 2 3\n", "1\n5\n"]


def test_calls_stand_in_one_block_or_in_one_each_and_are_literals_only():
    answer = "```python\nf([1, 2], 3)\nf(open('x'), 1)\ng(1)\n```\n```\nf(\n  [1],\n  k=2,\n)\n```"
    assert written_inputs([answer], CALL, 9).cases == (
        CallCase(([1, 2], 3), {}, None),
        CallCase(([1],), {"k": 2}, None),
    )


def test_answers_are_taken_in_turn_each_input_once_and_no_more_than_asked_for():
    first, second = "```\n1\n```\n```\n2\n```\n```\n3\n```", "```\n1\n```\n```\n4\n```"
    assert texts(written_inputs([first, second], STDIO, 3)) == ["1\n", "2\n", "4\n"]


def test_an_input_that_is_shared_already_is_not_taken_again():
    form = StdioTests((StdioCase("1 2\n", ""),))
    assert written_inputs(["```\n1  2\n```"], form, 9) is None


@pytest.mark.parametrize(
    "answer", ["", "no block here: 1 2", "```\n\n```", "```\n" + "1" * (LONGEST + 1) + "\n```"]
)
def test_what_is_no_input_is_passed_over(answer):
    assert written_inputs([answer], STDIO, 9) is None


def test_tests_without_inputs_have_none_written():
    assert written_inputs(["```\n1\n```"], CodeTests("assert True"), 9) is None


def test_the_form_of_inputs_is_that_of_the_function_in_the_prompt():
    assert input_form("def f(x: int) -> int:\n") == CallTests("f", ())
    assert isinstance(input_form("Read two numbers and print their sum."), StdioTests)
    assert isinstance(input_form("def solve():\n    pass"), StdioTests)


def test_arguments_by_name_are_for_languages_that_have_them():
    answer = "```\nf(1, k=2)\n```\n```\nf(3)\n```"
    assert written_inputs([answer], CALL, 9, "javascript").cases == (CallCase((3,), {}, None),)


def test_an_integer_that_json_cannot_be_written_with_is_passed_over():
    answer = f"```\nf(0x{'f' * 5000})\nf(2)\n```"
    assert written_inputs([answer], CALL, 9).cases == (CallCase((2,), {}, None),)


def test_of_an_answer_of_very_many_lines_only_the_first_are_read():
    answer = "```\n" + "f(1)\n" * 1000 + "f(2)\n```"
    assert written_inputs([answer], CALL, 9).cases == (CallCase((1,), {}, None),)
