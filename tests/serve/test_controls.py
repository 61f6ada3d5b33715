import pytest

from alpharay.serve.errors import RequestError
from alpharay.serve.gateway.parse import Controls, read_controls

from .fakes import TESTS


def controls(own=None, **headers):
    """The controls of a body's `alpharay` object and of headers, budget=... for X-Alpharay-Budget."""
    named = {f"x-alpharay-{name.replace('_', '-')}": value for name, value in headers.items()}
    return read_controls({} if own is None else {"alpharay": own}, named)


def refused(own=None, **headers):
    with pytest.raises(RequestError) as caught:
        controls(own, **headers)
    assert caught.value.status == 400
    return caught.value


def test_a_request_without_controls_sets_none():
    assert controls() == Controls()
    assert controls().returns is None


def test_a_body_sets_controls():
    parsed = controls({"budget": 8, "tests": TESTS, "return": "all", "members": ["frontier@1.5", -0.5]})
    assert (parsed.budget, parsed.tests, parsed.returns) == (8, TESTS, "all")
    assert parsed.members == ["frontier@1.5", -0.5]


def test_the_body_beats_the_header():
    parsed = controls({"budget": 8}, budget="4", deadline_s="9")
    assert (parsed.budget, parsed.deadline_s) == (8, 9)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("budget", "4", 4),
        ("time_limit_s", "2.5", 2.5),
        ("memory_limit_mb", "64", 64),
        ("stop_after_passes", "2", 2),
        ("deadline_s", "30", 30),
        ("policy", "single", "single"),
        ("selector", "tests", "tests"),
        ("turns", "1", 1),
        ("members", "frontier@1.5, -0.5", ["frontier@1.5", "-0.5"]),
        ("members", "frontier@1.5", ["frontier@1.5"]),
        ("members", "1.5", ["1.5"]),
        ("members", "[0.5, 1.5]", [0.5, 1.5]),
    ],
)
def test_every_control_is_also_a_header(name, text, value):
    assert getattr(controls(**{name: text}), name) == value


def test_return_and_tests_are_headers_too():
    parsed = controls(**{"return": "passing", "tests": '{"kind": "code", "code": "assert f()"}'})
    assert (parsed.returns, parsed.tests) == ("passing", {"kind": "code", "code": "assert f()"})


def test_headers_of_others_are_none_of_our_business():
    assert read_controls({}, {"x-request-id": "1", "alpharay-budget": "x"}) == Controls()


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [("budgets", "budget"), ("test", "tests"), ("returns", "return"), ("deadline", "deadline_s")],
)
def test_an_unknown_control_names_the_nearest_known_one(unknown, nearest):
    error = refused({unknown: 1})
    assert (error.message, error.param) == (
        f"unknown control {unknown!r}; did you mean {nearest!r}?",
        f"alpharay.{unknown}",
    )


def test_an_unknown_header_names_the_nearest_known_control():
    assert "did you mean 'budget'?" in refused(budgt="3").message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("budget", "8"),
        ("budget", 8.0),
        ("budget", True),
        ("budget", 0),
        ("budget", -1),
        ("tests", []),
        ("tests", "assert"),
        ("time_limit_s", "2"),
        ("time_limit_s", 0),
        ("time_limit_s", 601),
        ("time_limit_s", float("nan")),
        ("memory_limit_mb", 1),
        ("memory_limit_mb", 100.5),
        ("return", "worst"),
        ("stop_after_passes", 0),
        ("deadline_s", 0),
        ("deadline_s", float("inf")),
        ("policy", 3),
        ("turns", 0),
        ("turns", 4),
        ("tools", "python"),
        ("tools", ["bash"]),
        ("tools", ["python", 3]),
        ("members", []),
        ("members", "frontier@1"),
        ("members", [None]),
        ("members", {"a": 1}),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_name(name, value):
    error = refused({name: value})
    assert error.param.startswith(f"alpharay.{name}")
    assert error.message.startswith(f"alpharay.{name}")


@pytest.mark.parametrize("text", ["many", "", "8.5", "[8]", "null x"])
def test_a_header_of_the_wrong_kind_is_refused_by_its_name(text):
    assert refused(budget=text).param == "alpharay.budget"


@pytest.mark.parametrize("own", [3, "budget", [], True])
def test_controls_that_are_no_object_are_refused(own):
    assert refused(own).param == "alpharay"


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("policy", "best", "adaptive, bandit, portfolio, single, uniform"),
        ("selector", "luck", "b4, cluster, codet, discriminate, logprob, majority, tests"),
        ("language", "cobol", "python, cpp"),
    ],
)
def test_what_this_version_does_not_have_is_refused_with_the_way_out(name, value, way_out):
    error = refused({name: value})
    assert "not available in this version" in error.message
    assert way_out in error.message
    assert error.param == f"alpharay.{name}"


def test_a_large_value_is_shown_shortened():
    assert len(refused({"budget": "x" * 10_000}).message) < 250
