"""Examples out of prompts, inputs made from given ones, and what candidates do on them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import alpharay.serve
from alpharay.judge import CallTests, Limits, StdioTests, parse_problem, parse_tests
from alpharay.judge.behaviour import examples, shared_inputs

DATA = Path(__file__).parent / "data"


def pairs(prompt):
    tests = examples(prompt)
    assert isinstance(tests, StdioTests), tests
    return [(case.input, case.output) for case in tests.cases]


def calls(prompt):
    tests = examples(prompt)
    assert isinstance(tests, CallTests), tests
    return tests.entry_point, [(list(case.args), case.kwargs, case.output) for case in tests.cases]


DOCTEST = '''def add(a, b):
    """Adds.

    >>> add(2, 3)
    5
    >>> add(2,
    ...     b=4)
    6
    >>> print(add(1, 1))
    2
    >>> helper(1)
    1
    """
'''


def test_doctests_become_calls_of_the_function_that_is_defined():
    assert calls(DOCTEST) == ("add", [([2, 3], {}, 5), ([2], {"b": 4}, 6)])


def test_asserts_become_calls():
    prompt = (
        "Write it.\nassert f([1, 2]) == (3, 'x')\n  assert not f([])\nassert f(None)\nassert f(g()) == 1\n"
    )
    assert calls(prompt) == ("f", [([[1, 2]], {}, [3, "x"]), ([[]], {}, False), ([None], {}, True)])


def test_leetcode_examples_take_the_name_of_the_starter_code():
    prompt = """Two Sum.

**Example 1:**

**Input:** nums = [2,7,11,15], target = 9
**Output:** [0,1]
**Explanation:** because.

Example 2:
Input: nums = [3,3], target = 6
Output: [0,1]

class Solution:
    def twoSum(self, nums: list[int], target: int) -> list[int]:
"""
    assert calls(prompt) == ("twoSum", [([[2, 7, 11, 15], 9], {}, [0, 1]), ([[3, 3], 6], {}, [0, 1])])


@pytest.mark.parametrize("arrow", ["➞", "=>", "->", "==", "=", "returns", "should return", "# =>", "→"])
def test_arrows_after_calls_of_the_defined_function_are_examples(arrow):
    prompt = f'def f(x):\n    """Does it.\n    f("a)") {arrow} [1, 2]\n    For example: f(0) {arrow} 3.\n    g(1) {arrow} 2\n    """\n'
    assert calls(prompt) == ("f", [(["a)"], {}, [1, 2]), ([0], {}, 3)])


def test_a_prompt_about_a_function_has_no_program_for_samples():
    assert examples("def f(grid):\n    Input: [1]\n    Output: 2\n") is None
    assert pairs("def main():\n    pass\nSample input:\n2 3\nSample output:\n5\n") == [("2 3\n", "5")]


def test_json_literals_are_values_too():
    assert calls("def f(x):\nInput: x = [1]\nOutput: true\n") == ("f", [([[1]], {}, True)])


@pytest.mark.parametrize(
    "prompt",
    [
        "Add.\nSample input:\n2 3\nSample output:\n5\n",
        "## Sample Input 1\n\n```\n2 3\n```\n\n## Sample Output 1\n\n```\n5\n```\n\n## Constraints\n1 <= a\n",
        "Input\n\nTwo numbers on one line are given.\n\nOutput\n\nPrint their sum on one line.\n\nExample\nInput\n2 3\nOutput\n5\nNote\nEasy.",
        "Examples\nInputCopy\n2 3\nOutputCopy\n5\n",
        "**Input:**\n2 3\n\n**Output:**\n5\n\nThat was all.",
        "Input: 2 3\nOutput: 5\n",
        "Example 1\n```\nInput:\n2 3\nOutput:\n5\n```\n",
        "| Input | Output |\n| --- | --- |\n| `2 3` | `5` |\n",
        "| # | Sample Input | Sample Output |\n|:-:|---|---|\n| 1 | 2 3 | 5 |\n",
        "Sample input:\r\n2 3\r\nSample output:\r\n5\r\n",
    ],
)
def test_contest_samples_are_found_in_the_usual_forms(prompt):
    samples = pairs(prompt)
    assert [(input_text.split(), output) for input_text, output in samples] == [(["2", "3"], "5")]


def test_samples_of_many_lines_stay_whole_and_in_order():
    prompt = "Sample Input 1:\n2\n1 2\n3 4\n\nSample Output 1:\n3\n7\n\nSample Input 2:\n1\n5 5\n\nSample Output 2:\n10\n"
    assert pairs(prompt) == [("2\n1 2\n3 4\n", "3\n7"), ("1\n5 5\n", "10")]


def test_a_table_may_break_lines():
    assert pairs("| input | output |\n|-|-|\n| 2<br>1 2 | 3 |\n") == [("2\n1 2\n", "3")]


@pytest.mark.parametrize(
    "prompt",
    [
        "Write a function that adds two numbers.",
        "Input: the first line contains two numbers.\nOutput: print the sum of both numbers.\n",
        "Sample input:\n2 3\n",
        "Sample output:\n5\n",
        ">>> print(1)\n1\n",
        ">>> f(x)\n1\n",
        ">>> f({1, 2})\n{3}\n",
        "assert f(1) > 2",
        "assert f(",
        "| Input | Output |\n",
        "",
        "Input: x = __import__('os').system('true')\nOutput: 0\ndef f(x):",
    ],
)
def test_what_is_no_example_is_left_alone(prompt):
    assert examples(prompt) is None


PROMPTS = [json.loads(line) for line in (DATA / "prompts.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("row", PROMPTS, ids=[row["name"] for row in PROMPTS])
def test_an_example_is_taken_only_where_it_is_the_one_right_answer(row):
    tests = examples(row["prompt"])
    if tests is None:
        taken = None
    elif isinstance(tests, StdioTests):
        taken = [[case.input.rstrip("\n"), case.output] for case in tests.cases]
        assert tests.comparison.case_sensitive is row.get("case_sensitive", True)
    else:
        taken = {
            "entry_point": tests.entry_point,
            "calls": [[list(case.args), case.output] for case in tests.cases],
        }
    assert taken == row["want"]
    assert getattr(tests, "float_tolerance", None) == row.get("float_tolerance")


def test_every_embedded_problem_shows_its_first_case():
    path = Path(alpharay.serve.__file__).parent / "embedded" / "problems.jsonl"
    for line in path.read_text().splitlines():
        problem = parse_problem(json.loads(line))
        tests = examples(problem.prompt)
        assert isinstance(tests, StdioTests), problem.id
        assert tests.cases[0].input.split() == problem.tests.cases[0].input.split()
        assert tests.cases[0].output.split() == problem.tests.cases[0].output.split()


@given(st.text(max_size=300))
def test_any_text_has_examples_or_none(text):
    examples(text)
    examples(f"Input:\n{text}\nOutput:\n{text}\n>>> f({text})\n{text}\nassert f({text}) == {text}")


@pytest.mark.parametrize(
    "piece",
    [
        "\n",
        " ",
        "*",
        "#",
        "input",
        "Input:",
        "f(",
        "function ",
        "`",
        "-",
        ">>> f(",
        "|",
        "\t#\n",
        "_ ",
        "[",
        "= 1 #",
    ],
)
def test_no_prompt_takes_long_to_read(piece):
    """Searching must be linear: at this length anything else would not come to an end."""
    long = piece * (60_000 // len(piece))
    for start in ("", "def f(x):\n", "Sample input:\n", "Input", "f(1) == ", "f(1) returns 1", "function "):
        examples(start + long)
        examples(start + long + "x\nOutput: 1")


STDIO = parse_tests(
    {
        "kind": "stdio",
        "cases": [{"input": "4 8\n3 6 1 0\n", "output": "0"}, {"input": "2 1\n5 5\n", "output": "1"}],
    }
)
CALLS = parse_tests(
    {"kind": "call", "entry_point": "f", "cases": [{"args": [[1, 2, 3], 4, "abc"], "output": 1}]}
)


def test_given_inputs_come_first_and_the_seed_decides_the_rest():
    made = shared_inputs(STDIO, 12, seed=3)
    assert [case.input for case in made.cases[:2]] == [case.input for case in STDIO.cases]
    assert len(made.cases) == len({case.input for case in made.cases}) == 12
    assert made.cases == shared_inputs(STDIO, 12, seed=3).cases
    assert made.cases != shared_inputs(STDIO, 12, seed=4).cases
    assert {case.output for case in made.cases} == {""}


@given(st.integers(0, 10_000))
def test_a_number_that_counts_what_follows_stays_right(seed):
    for case in shared_inputs(STDIO, 10, seed).cases:
        first, second = case.input.splitlines()
        assert int(first.split()[0]) == len(second.split())
        assert all(int(token) >= 0 for token in case.input.split())


def test_grown_inputs_come_last_and_are_longer():
    made = shared_inputs(STDIO, 12, seed=3)
    assert [len(case.input.split()) for case in made.cases[-2:]] == [2 + 8 * 4, 2 + 64 * 4]
    assert made.cases[-1].input.startswith("256 8\n")
    assert max(len(case.input.split()) for case in shared_inputs(STDIO, 12, seed=3, grown=False).cases) == 6


@given(st.integers(0, 10_000))
def test_mutated_arguments_keep_their_types(seed):
    for case in shared_inputs(CALLS, 10, seed).cases:
        numbers, number, word = case.args
        assert [type(each) for each in numbers] == [int] * len(numbers)
        assert isinstance(number, int)
        assert isinstance(word, str)
        assert set(word) <= set("abc")


def test_inputs_that_cannot_vary_end_the_search():
    fixed = parse_tests({"kind": "call", "entry_point": "f", "cases": [{"args": [], "output": 1}]})
    assert len(shared_inputs(fixed, 50, seed=1).cases) == 1
    empty = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "1"}]})
    assert len(shared_inputs(empty, 50, seed=1).cases) == 1


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(JSONS, max_size=3), st.integers(0, 99))
def test_any_arguments_can_be_mutated(args, seed):
    tests = parse_tests({"kind": "call", "entry_point": "f", "cases": [{"args": args, "output": None}]})
    assert 1 <= len(shared_inputs(tests, 8, seed).cases) <= 8


@given(st.text(max_size=80), st.integers(0, 99))
def test_any_text_can_be_mutated(text, seed):
    tests = parse_tests({"kind": "stdio", "cases": [{"input": text, "output": ""}]})
    assert 1 <= len(shared_inputs(tests, 8, seed).cases) <= 8


def answer(source):
    return f"```python\n{source}\n```"


@pytest.mark.asyncio(loop_scope="session")
async def test_an_observed_program_tells_what_it_gave_and_is_not_compared(pool):
    tests = parse_tests(
        {
            "kind": "stdio",
            "cases": [{"input": text, "output": "never this"} for text in ("2 3", "0 0", "4 4", "x")],
        }
    )
    first = await pool.judge(
        tests, answer("a, b = map(int, input().split())\nprint(a // b + b)"), observe=True
    )
    same = await pool.judge(
        tests, answer("a, b = map(int, input().split())\nprint(' ', b + a // b)"), observe=True
    )
    other = await pool.judge(tests, answer("print(3)"), observe=True)
    assert first.outputs == same.outputs
    assert [output is None for output in first.outputs] == [False, True, False, True]
    assert first.outputs[0] == other.outputs[0] != first.outputs[2]
    assert other.accepted
    assert (first.verdict, first.passed, first.failed_case) == ("runtime_error", 2, 1)


@pytest.mark.asyncio(loop_scope="session")
async def test_an_observed_function_tells_each_value_and_stops_where_time_ran_out(pool):
    tests = parse_tests(
        {
            "kind": "call",
            "entry_point": "f",
            "cases": [{"args": [n], "output": None} for n in (1, 0, 2, -1, 3)],
        }
    )
    source = "def f(n):\n    while n < 0: pass\n    return [6 // n, {1: 2}]"
    seen = await pool.judge(tests, answer(source), limits=Limits(cpu_s=0.1), observe=True)
    assert [output is None for output in seen.outputs] == [False, True, False, True, True]
    plain = await pool.judge(tests, answer(source), limits=Limits(cpu_s=0.1))
    assert plain.outputs == ()


@pytest.mark.asyncio(loop_scope="session")
async def test_an_observed_text_without_a_program_gave_nothing(pool):
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": ""}]})
    assert not any((await pool.judge(tests, "I cannot.", observe=True)).outputs)
