"""What `make test` runs: every group, its output whole, and what matters of all at the end."""

from __future__ import annotations

import pytest

from tests import side_by_side

TESTS = """
import pytest

@pytest.mark.engine
def test_an_engine(): pytest.skip("no engine here")

def test_another(): assert {holds}
"""


@pytest.mark.parametrize(("holds", "code"), [(True, 0), (False, 1)])
def test_all_groups_run_and_their_summaries_are_last(holds, code, tmp_path, monkeypatch, capfd):
    (tmp_path / "test_here.py").write_text(TESTS.format(holds=holds))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = engine\naddopts = -ra\n")
    monkeypatch.chdir(tmp_path)
    groups = {"engines": ("-m", "engine"), "others": ("-m", "not engine")}
    monkeypatch.setattr(side_by_side, "GROUPS", groups)
    monkeypatch.setattr(side_by_side.sys, "argv", ["side_by_side.py"])
    assert side_by_side.main() == code
    printed = capfd.readouterr().out.splitlines()
    skipped, failed = (
        [number for number, line in enumerate(printed) if text in line]
        for text in ("no engine here", "FAILED test_here.py::test_another")
    )
    assert len(skipped) == 2  # where it was shown as it came, and at the end
    assert len(failed) == (not holds)
    assert all(number > skipped[-1] for number in failed)
    assert printed[-1].strip("= ").startswith("1 passed" if holds else "1 failed")
