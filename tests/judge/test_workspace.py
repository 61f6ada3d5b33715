"""Tests of kind `repo` before anything runs: what is refused, and which folder is used."""

import pytest

from alpharay.judge import ProblemError, parse_tests
from alpharay.judge.guest.scratch import OWN
from alpharay.judge.sandbox.layer import SCRATCH

TESTS = {"kind": "repo", "files": {"stack/core.py": ""}, "verify": ["pytest -q"]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"files": {"/etc/passwd": "x"}}, "is absolute"),
        ({"files": {"a/../../b": "x"}}, "leaves the folder"),
        ({"files": {"a//b": "x"}}, "empty part"),
        ({"files": {"a\\b": "x"}}, "backslash"),
        ({"files": {"a/" * 13 + "b": "x"}}, "deeper than 12"),
        ({"files": {"\N{SNOWMAN}" * 100: "x"}}, "longer than 200 bytes"),
        ({"files": {"a": "x", "a/b": "y"}}, "is a file and the folder of"),
        ({"files": {".alpharay/tools/pytest.py": "x"}}, "the judge's own"),
        ({"files": {"a": "x" * (9 << 20)}}, "8 MiB are accepted"),
        ({"files": {str(n): "" for n in range(1001)}}, "1000 are accepted"),
        ({"files": {"a": 1}}, "tests.files['a'] must be text"),
        ({"files": {"a": {"base64": "?"}}}, "is not base64"),
        ({"hidden": {"stack": "x"}}, "is a file and the folder of"),
        ({"answer": "../x.py"}, "leaves the folder"),
        ({"verify": []}, "tests.verify is empty"),
        ({"verify": ["make test"]}, "starts no program but Python"),
        ({"verify": ["python -c 'print(1)'"]}, "-c"),
        ({"verify": ["python -m pytest " + "x" * 1000]}, "at most 100 words of 1000 characters"),
        ({"setup": "python x.py"}, "tests.setup must be a list"),
    ],
)  # fmt: skip
def test_malformed_tests_name_the_field(fields, message):
    with pytest.raises(ProblemError) as error:
        parse_tests({**TESTS, **fields})
    assert message in str(error.value)


def test_the_folder_of_a_sandbox_s_own_is_the_layer_s():
    assert OWN == SCRATCH
