"""What one ingress replica logs of its requests."""

from __future__ import annotations

import logging

import pytest

from alpharay.serve import logs
from alpharay.serve.config import Server

from .fakes import TESTS


@pytest.fixture
def ended(caplog):
    """The log lines of finished requests, as (endpoint, outcome, answer)."""
    caplog.set_level(logging.INFO, logger="ray.serve")
    return lambda: [
        (line.endpoint, line.outcome, line.answer) for line in caplog.records if hasattr(line, "outcome")
    ]


async def test_a_finished_request_is_one_line_with_its_answers_id(serving, ended):
    answer = await serving.answer(alpharay={"budget": 5, "tests": TESTS})
    (line,) = ended()
    assert line[:2] == ("chat", "ok")
    assert line[2]
    assert answer["id"].endswith(line[2])


async def test_a_refused_request_is_a_line_without_an_answer(serving, ended):
    assert (await serving.chat(alpharay={"budget": -1})).status_code == 400
    assert [line[:2] for line in ended()] == [("chat", "invalid")]


async def test_a_streamed_request_ends_once(serving, ended):
    await serving.events(alpharay={"budget": 5})
    assert [line[:2] for line in ended()] == [("chat", "ok")]


def test_the_configuration_says_how_and_where(tmp_path):
    plain = logs.options(Server())
    assert plain == {"encoding": "TEXT", "enable_access_log": True}
    json_options = logs.options(Server(log_format="json", log_folder=tmp_path), calls=False)
    assert json_options == {"encoding": "JSON", "enable_access_log": False, "logs_dir": str(tmp_path)}
