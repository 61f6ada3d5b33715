import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.judge import parse_tests
from alpharay.judge.compare import Comparison, canonical, length, same_output, same_value, same_wide_value

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("1 2\n3\n", b"1\n2 3", True),
        ("1 2", b"1 2 \r\n\n", True),
        ("", b" \n", True),
        ("1", b"1.0", False),
        ("YES", b"yes", False),
        ("1 2", b"12", False),
        ("1 2", b"1 2 3", False),
        ("ä", "ä".encode(), True),
        ("ä", "ä".encode("latin-1"), False),
        ("\ud800", b"?", False),
        ("a", b"a\0", False),
    ],
)
def test_output_is_compared_token_by_token(expected, actual, same):
    assert same_output(expected, actual) is same


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("0.333333", b"0.33333334", True),
        ("1000000", b"1000000.5", True),
        ("1.0", b"1.01", False),
        ("nan", b"1", False),
        ("1", b"nan", False),
        ("inf", b"1e999", False),
        ("1 x", b"1.0000001 y", False),
        ("10", b"1_0", False),
        ("1", b"1" * 100_000, False),
    ],
)
def test_numbers_may_differ_by_the_tolerance(expected, actual, same):
    assert same_output(expected, actual, float_tolerance=1e-6) is same


@pytest.mark.parametrize(
    ("expected", "actual", "comparison", "same"),
    [
        ("Yes 1", b"YES\n1", {"case_sensitive": False}, True),
        ("Yes 1", b"YES 1.0", {"case_sensitive": False}, False),
        ("\u00c4", "\u00e4".encode(), {"case_sensitive": False}, False),
        ("a b\n", b"a b\n", {"space_change_sensitive": True}, True),
        ("a b\n", b"a  b\n", {"space_change_sensitive": True}, False),
        ("a b\n", b"a b", {"space_change_sensitive": True}, False),
        ("a b", b"A b", {"space_change_sensitive": True, "case_sensitive": False}, True),
        ("1.0 x", b"1.05 x", {"space_change_sensitive": True, "float_absolute_tolerance": 0.1}, True),
        ("100", b"100.5", {"float_absolute_tolerance": 0.1}, False),
        ("100", b"100.5", {"float_relative_tolerance": 0.1}, True),
        ("0.01", b"0.02", {"float_relative_tolerance": 0.1}, False),
        ("0.01", b"0.02", {"float_relative_tolerance": 0.1, "float_absolute_tolerance": 0.1}, True),
        ("Pi 3.14", b"PI 3.1400001", {"float_absolute_tolerance": 1e-3, "case_sensitive": False}, True),
    ],
)
def test_a_comparison_says_which_differences_matter(expected, actual, comparison, same):
    assert same_output(expected, actual, comparison=Comparison(**comparison)) is same


@pytest.mark.parametrize(
    ("expected", "actual", "tolerance", "same"),
    [
        ("1\n2.50", b"1.0\n\n2.5\n", 0, True),
        ("1e3", b"1000", 0, True),
        ("50000000000000000", b"50000000000000001", 0, False),
        ("0.1", b"0.10000000000000001", 0, False),
        ("YES 010", b"YES 10", 0, False),
        ("010", b"10", 0, True),
        ("1 2", b"1.0\n2.0", 0, False),
        ("nan", b"NaN", 0, False),
        ("1", b"1_0", 0, False),
        ("1e999999999", b"1e999999998", 0, False),
        ("0.333333", b"0.33333", 1e-5, True),
        ("1000000", b"1000001", 1e-5, False),
        ("1000000", b"1000000.5", 1e-5, True),
        ("a 1.0", b"a 1.000001", 1e-5, False),
        ("7" * 5000, b"7" * 5000 + b".0", 0, False),
    ],
)
def test_only_lines_of_numbers_are_compared_as_numbers(expected, actual, tolerance, same):
    assert same_output(expected, actual, tolerance, Comparison(numeric_lines=True)) is same


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Z", "C"]), min_size=1)))
def test_white_space_never_matters(tokens):
    assert same_output(" ".join(tokens), "\n\n".join(tokens).encode() + b" \n")


@given(JSON)
def test_a_value_is_itself_in_any_order_of_keys(value):
    assert same_value(value, canonical(value))
    assert same_value(value, json.dumps(value, indent=1))


@given(JSON, JSON)
def test_values_are_the_same_only_when_their_texts_are(a, b):
    def key(value):
        return canonical(value).replace("-0.0", "0.0")

    assert same_value(a, canonical(b)) is (key(a) == key(b))


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (1, "true", False),
        (True, "1", False),
        (0, "false", False),
        (1, "1.0", False),
        (1.0, "1", False),
        (0.0, "-0.0", True),
        (None, "null", True),
        (None, "0", False),
        ("5", "5", False),
        (5, '"5"', False),
        (math.nan, "NaN", True),
        (5, "NaN", False),
        ([1, 2], "[1,2,3]", False),
        ({"a": 1}, '{"a":1,"b":2}', False),
        ([], "{}", False),
        ("\ud800", '"\\ud800"', True),
        (5, "", False),
        (5, "[" * 100_000, False),
        (5, "9" * 1_000_000, False),
        (5, "-", False),
        (5, "5 5", False),
    ],
)
def test_values_are_compared_type_strictly(expected, actual, same):
    assert same_value(expected, actual) is same


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (0.1, "0.1000001", True),
        ([1.0, [2.0]], "[1.0000001,[2]]", True),
        (1, "1.0", True),
        (1, "true", False),
        (1.0, "1.1", False),
        (1e308, "-1e308", False),
        (0.5, "1e400", False),
        (10**400, "0.5", False),
    ],
)
def test_floats_may_differ_by_the_tolerance(expected, actual, same):
    assert same_value(expected, actual, float_tolerance=1e-6) is same


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (1, "true", True),
        (False, "0", True),
        (2, "2.0", True),
        ([1, [2.0]], "[true,[2]]", True),
        (2, "2.0000001", False),
        (None, "0", False),
        (1, '"1"', False),
        (0, "null", False),
    ],
)
def test_without_strict_types_values_are_compared_as_python_does(expected, actual, same):
    assert same_value(expected, actual, strict_types=False) is same


def test_integers_longer_than_python_prints_are_compared_exactly():
    from alpharay.judge.guest.candidate import widen

    huge = 7**9000
    assert same_wide_value([huge], canonical(widen([huge])))
    assert not same_wide_value([huge], canonical(widen([huge + 1])))
    assert not same_value([huge], "[" + "7" * 7606 + "]")
    assert not same_value(5, canonical(widen(huge)))


def test_the_length_of_a_value_is_never_much_too_small():
    for value in (7**9000, "\ud800" * 100, [[]] * 50, {"a" * 50: None}, 0.1 + 0.2, [True, -1]):
        text = hex(value) if isinstance(value, int) else canonical(value)
        assert length(value) >= len(text) * 0.8


@given(JSON)
def test_wide_values_are_compared_as_plain_ones_are(value):
    from alpharay.judge.guest.candidate import widen

    assert same_wide_value(value, canonical(widen(value)))
    assert not same_wide_value([value], canonical(widen(value)))


@pytest.mark.parametrize(
    "text", ["", "5", '"ix"', '"i"', "[" * 100_000, '{"sa":"i0x5"', '"s5"', '"i0x6"', "true"]
)
def test_malformed_wide_values_are_not_the_same(text):
    assert not same_wide_value(5, text)


def test_a_value_nested_deeper_than_python_recurses_is_not_the_same():
    assert not same_value([[1]], "[" * 50_000 + "1" + "]" * 50_000)


@pytest.mark.parametrize(
    ("checker", "expected", "right", "wrong"),
    [
        ("tokens", "a  b\nc", ["a b c", "a\nb\nc\n"], ["a b", "A b c"]),
        (
            "lines",
            "a b\n\nc",
            ["a b \n\nc\n\n", "a b\r\n\nc"],
            ["a  b\n\nc", "a b\nc", "a b\n\n\nc", " a b\n\nc"],
        ),
        ("float(1e-3)", "1.0 x", ["1.0005 x", "1 x"], ["1.01 x", "1.0 X", "nan x", "1.0"]),
        ("case_insensitive", "Yes No", ["YES\nno"], ["YES", "Yes Nope"]),
        ("unordered", "1 2 2\n3", ["3 2 1 2", "2\n1\n3\n2"], ["1 2 3", "1 2 3 3", "1 2 2 3 3"]),
        ("unordered(lines)", "1 2\n3", ["3\n1  2\n"], ["1 2 3", "3\n2 1", "3\n3\n1 2"]),
        ("yes_no", "YES no", ["yes\nNO"], ["yes yes", "yes", "y n"]),
    ],
)
def test_a_checker_by_name_compares_as_its_name_says(checker, expected, right, wrong):
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": expected}], "checker": checker})

    def same(actual):
        return same_output(expected, actual.encode(), tests.float_tolerance, tests.comparison)

    assert [text for text in right if not same(text)] == []
    assert [text for text in wrong if same(text)] == []


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (1, "1.0", True),
        (1.0, "1", True),
        (True, "1", False),
        (0, "false", False),
        (2**60, str(2**60 + 1), False),
    ],
)
def test_where_there_is_one_type_of_number_integers_and_floats_are_alike(expected, actual, same):
    assert same_value(expected, actual, one_number=True) is same
