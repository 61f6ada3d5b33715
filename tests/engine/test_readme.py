"""The README's request, as it is written there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_readme_request_is_answered_as_the_readme_says(server):
    """Not to the letter: another processor rounds differently, and may so sample another program."""
    (body,) = re.findall(r"curl -s \S+ -H '[^']+' -d '(.+?)'\n```", README, re.DOTALL)
    answer = server.post(json.loads(body)).json()
    note, told = answer["choices"][0]["alpharay"], answer["alpharay"]
    assert (note["verdict"], note["passed"], note["total"]) == ("accepted", 3, 3)
    assert (told["budget"], told["stopped"], told["judge"]) == (32, "passes", "ok")
    assert told["drawn"] < 32
