"""Unified diffs as models write them, applied to files."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.judge.workspace.patch import PatchError, _occurrences, apply
from alpharay.judge.workspace.repo import patch_in

LINES = st.lists(st.sampled_from(["a", "b", "", "    c", "- d", "+ e", "@@ f", "--- g"]), max_size=12)
TEXT = LINES.map(lambda lines: "".join(f"{line}\n" for line in lines))


def diff(before, after, path="file.py"):
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{path}", f"b/{path}")
    return "".join(lines)


@given(TEXT, TEXT)
def test_a_diff_makes_of_the_one_text_the_other(before, after):
    if before != after:
        patched = apply({"file.py": before.encode(), "other": b"x"}, diff(before, after))
        assert patched == {"file.py": after.encode(), "other": b"x"}


def test_lines_that_have_moved_are_found():
    before = "one\ntwo\nthree\n"
    patched = apply({"f": f"new\n\n\n{before}".encode()}, diff(before, "one\n2\nthree\n", "f"))
    assert patched == {"f": b"new\n\n\none\n2\nthree\n"}


def test_of_two_places_the_nearer_one_is_changed():
    before = "x\n" + "pad\n" * 20 + "x\n"
    patch = "--- a/f\n+++ b/f\n@@ -22 +22 @@\n-x\n+y\n"
    assert apply({"f": before.encode()}, patch) == {"f": ("x\n" + "pad\n" * 20 + "y\n").encode()}


def test_a_file_is_made_and_another_goes():
    patch = "--- /dev/null\n+++ b/new/file\n@@ -0,0 +1,2 @@\n+one\n+two\n--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n"
    assert apply({"old": b"gone\n"}, patch) == {"new/file": b"one\ntwo\n"}


def test_numbers_that_a_model_miscounted_do_not_matter():
    patch = "--- a/f\n+++ b/f\n@@ -7,9 +3,1 @@ def g():\n one\n-two\n+2\n\\ No newline at end of file\n"
    assert apply({"f": b"one\ntwo\n"}, patch) == {"f": b"one\n2\n"}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("nothing", "changes nothing"),
        ("--- a/f\n+++ b/f\n@@ -1 +1 @@\n-two\n+2\n", "hunk 1 of f does not fit"),
        ("--- a/g\n+++ b/g\n@@ -1 +1 @@\n-one\n+1\n", "g, which is not there"),
        ("--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+1\n", "f, which is there already"),
        ("--- a/f\n+++ /etc/passwd\n@@ -1 +1 @@\n-one\n+1\n", "is absolute"),
        ("--- a/f\n+++ b/x/../../f\n@@ -1 +1 @@\n-one\n+1\n", "leaves the folder"),
        ("--- a/f\n+++ b/f/g\n@@ -1 +1 @@\n-one\n+1\n--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+1\n", "a file and the folder"),
        ("diff --git a/f b/g\nrename from f\nrename to g\n", "'rename', which is not supported"),
    ],
)  # fmt: skip
def test_what_cannot_be_applied_says_why(patch, message):
    with pytest.raises(PatchError) as error:
        apply({"f": b"one\n"}, patch)
    assert message in str(error.value)


FEW = st.lists(st.sampled_from("ab"), max_size=12)


@given(FEW, FEW.filter(bool))
def test_lines_are_found_wherever_they_are(lines, wanted):
    size = len(wanted)
    assert list(_occurrences(lines, wanted)) == [
        n for n in range(len(lines)) if lines[n : n + size] == wanted
    ]


def test_a_patch_that_would_hold_the_judge_up_is_refused():
    with pytest.raises(PatchError, match="too many changes of files that are too long"):
        apply({"f": b"x" * (8 << 20)}, "--- a/f\n+++ b/f\n" * 9)


@pytest.mark.parametrize(
    ("answer", "patch"),
    [
        ("```diff\na\n```\nor\n~~~patch x\nb\n~~~ \n", "b\n"),
        ("```diff\na\n```\nor\n```diff\nb\n", "a\n"),
        ("```diff\n```", ""),
        ("```diff\n" * 50_000, None),
        ("```python\n--- a\n+++ b\n```", None),
        ("--- a\n+++ b\n", "--- a\n+++ b\n"),
    ],
)
def test_the_last_block_that_is_closed_is_the_patch(answer, patch):
    assert patch_in(answer) == patch
