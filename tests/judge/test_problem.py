import pytest

from alpharay.judge.compare import Comparison
from alpharay.judge.errors import ProblemError
from alpharay.judge.limits import Limits
from alpharay.judge.problem import (
    CallCase,
    CallTests,
    CodeTests,
    StdioCase,
    StdioTests,
    parse_problem,
    parse_tests,
)

STDIO = {"kind": "stdio", "cases": [{"input": "1", "output": "2", "level": 3}]}


def test_the_three_kinds_of_tests_are_read():
    assert parse_tests({**STDIO, "float_tolerance": 0.5}) == StdioTests((StdioCase("1", "2", 3),), 0.5)
    call = {"kind": "call", "entry_point": "f", "cases": [{"args": [1], "kwargs": {"k": 2}, "output": None}]}
    assert parse_tests(call) == CallTests("f", (CallCase((1,), {"k": 2}, None),))
    assert parse_tests({"kind": "code", "code": "assert f() == 1"}) == CodeTests("assert f() == 1")


def test_tests_say_how_outputs_are_compared():
    assert parse_tests(STDIO).comparison == Comparison()
    options = {"case_sensitive": False, "space_change_sensitive": True, "numeric_lines": True}
    options |= {"float_absolute_tolerance": 0.0, "float_relative_tolerance": 0.5}
    assert parse_tests({**STDIO, **options}).comparison == Comparison(**options)
    call = {"kind": "call", "entry_point": "f", "cases": [{"args": [1], "output": 1}]}
    assert [parse_tests({**call, **each}).strict_types for each in ({}, {"strict_types": False})] == [
        True,
        False,
    ]


def test_a_problem_sets_its_own_limits_and_leaves_the_others():
    problem = parse_problem({"id": "a", "prompt": "p", "tests": STDIO, "time_limit_s": 2})
    assert problem.limits(Limits(cpu_s=9, memory_mb=99)) == Limits(cpu_s=2, memory_mb=99)
    assert problem.language == "python"


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        (None, "tests must be an object, got null"),
        ({}, 'tests.kind must be "stdio", "call", "code" or "repo"'),
        ({"kind": "stdin"}, "'stdin'"),
        ({"kind": "stdio"}, "tests.cases is missing"),
        ({"kind": "stdio", "cases": []}, "tests.cases is empty"),
        ({"kind": "stdio", "cases": {}}, "tests.cases must be a list, got an object"),
        (
            {"kind": "stdio", "cases": [{"input": 1, "output": ""}]},
            "tests.cases[0].input must be a string, got 1",
        ),
        ({"kind": "stdio", "cases": [{"input": ""}]}, "tests.cases[0].output is missing"),
        ({"kind": "stdio", "cases": [{"input": "", "output": "", "x": 1}]}, "tests.cases[0].x is not known"),
        ({**STDIO, "float_tolerance": "1"}, "tests.float_tolerance must be a number, got a string"),
        ({**STDIO, "float_tolerance": -1}, "tests.float_tolerance must be a finite number >= 0"),
        ({**STDIO, "float_tolerance": float("nan")}, "tests.float_tolerance must be a finite number"),
        ({**STDIO, "case_sensitive": 0}, "tests.case_sensitive must be true or false, got 0"),
        ({**STDIO, "float_relative_tolerance": -1}, "tests.float_relative_tolerance must be a finite number"),
        ({**STDIO, "strict_types": True}, "tests.strict_types is not known"),
        ({**STDIO, "entry_point": "f"}, "tests.entry_point is not known"),
        ({"kind": "call", "cases": []}, "tests.entry_point is missing"),
        ({"kind": "call", "entry_point": "a b", "cases": []}, "tests.entry_point must be a function's name"),
        (
            {"kind": "call", "entry_point": "f", "cases": [{"args": 1, "output": 1}]},
            "tests.cases[0].args must be a list",
        ),
        ({"kind": "call", "entry_point": "f", "cases": [{"args": []}]}, "tests.cases[0].output is missing"),
        ({"kind": "code", "code": " "}, "tests.code is empty"),
        ({"kind": "code", "code": 5}, "tests.code must be a string"),
    ],
)
def test_malformed_tests_are_named_by_field(tests, message):
    with pytest.raises(ProblemError) as caught:
        parse_tests(tests)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 5}, "id must be a string"),
        ({"prompt": None}, "prompt must be a string, got null"),
        ({"language": "cobol"}, "language must be one of python, cpp"),
        ({"time_limit_s": True}, "time_limit_s must be a number, got a boolean"),
        ({"time_limit_s": 0}, "time_limit_s must be between"),
        ({"time_limit_s": 10**400}, "time_limit_s is too large"),
        ({"memory_limit_mb": 1.5}, "memory_limit_mb must be an integer"),
        ({"memory_limit_mb": 1}, "memory_limit_mb must be between"),
        ({"time_limit": 5}, "time_limit is not known; known are id, prompt"),
        ({"tests": {"kind": "code", "code": "x"}, "language": "cpp"}, "need language python"),
    ],
)
def test_malformed_problems_are_named_by_field(change, message):
    with pytest.raises(ProblemError) as caught:
        parse_problem({"id": "a", "prompt": "p", "tests": STDIO, **change})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("checker", "message"),
    [
        ("token", "tests.checker must be a program or one of tokens, lines, float"),
        ("float(x)", "'x' in float\\(x\\) is no number; write float\\(1e-6\\)"),
        ("float(-1)", "must be a finite number >= 0"),
        ("yes_no", "cases\\[0\\].output holds '5', which the checker yes_no does not know"),
        (7, "tests.checker must be an object, got 7"),
        ({"language": "python"}, "tests.checker.source is missing"),
        ({"language": "java", "source": "x"}, "tests.checker.language must be one of python, cpp"),
        ({"language": "cpp", "source": "x", "style": "icpc"}, "style must be one of testlib, kattis"),
        ({"language": "cpp", "source": " "}, "tests.checker.source is empty"),
        ({"language": "cpp", "source": "x", "files": {"a/b.h": ""}}, "'a/b.h' cannot be a file's name here"),
        ({"language": "cpp", "source": "x", "files": {"input": ""}}, "'input' cannot be a file's name here"),
        ({"language": "cpp", "source": "x", "files": {"a.h": 1}}, "a string, the file's content"),
        ({"language": "cpp", "source": "x", "flags": [1]}, "tests.checker.flags must be"),
        ({"language": "cpp", "source": "x", "time_limit_s": 0}, "tests.checker.time_limit_s must be between"),
        ({"language": "cpp", "source": "x", "sauce": 1}, "tests.checker.sauce is not known"),
    ],
)
def test_a_checker_that_cannot_be_used_is_refused_with_the_way_out(checker, message):
    case = {"input": "", "output": "5"}
    with pytest.raises(ProblemError, match=message):
        parse_tests({"kind": "stdio", "cases": [case], "checker": checker})


def test_a_checker_and_a_tolerance_contradict_each_other():
    case = {"input": "", "output": "5"}
    with pytest.raises(
        ProblemError, match=r"tests.checker and tests.float_tolerance both say how to compare"
    ):
        parse_tests({"kind": "stdio", "cases": [case], "checker": "lines", "float_tolerance": 0.1})
