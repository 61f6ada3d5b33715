"""The README's request, as it is written there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_readme_request_gets_the_answer_that_the_readme_shows(server):
    (body,) = re.findall(r"curl -s \S+ -H '[^']+' -d '(.+?)'\n```", README, re.DOTALL)
    answer = server.post(json.loads(body)).json()
    assert answer["choices"][0]["alpharay"]["verdict"] == "accepted"
    assert answer["alpharay"]["stopped"] == "passes"
    shown = re.search(r'"content": "(# fast .+?)"\n', README)
    assert shown is not None
    assert answer["choices"][0]["message"]["content"] == json.loads(f'"{shown[1]}"')
