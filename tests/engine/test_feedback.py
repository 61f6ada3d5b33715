"""What clients learned by running answers themselves, on a real server with its store."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.engine


def feedback(server, **body):
    return httpx.post(f"{server.url}/feedback", json=body, timeout=30)


@pytest.mark.parametrize("model", ["frontier", "frontier@1"])
@pytest.mark.parametrize("path", ["chat/completions", "completions", "responses", "messages"])
def test_every_answer_takes_feedback_under_the_id_that_it_came_with(server, model, path):
    body = {
        "chat/completions": {"messages": [{"role": "user", "content": "a + b?"}], "max_tokens": 4},
        "completions": {"prompt": "a + b?", "max_tokens": 4},
        "responses": {"input": "a + b?", "max_output_tokens": 4},
        "messages": {"messages": [{"role": "user", "content": "a + b?"}], "max_tokens": 4},
    }[path]
    answer = httpx.post(f"{server.url}/{path}", json={"model": model, **body}, timeout=120)
    assert answer.status_code == 200, answer.text
    name = answer.json()["id"]
    first, again = (feedback(server, id=name, choice=0, verdict="accepted") for _ in range(2))
    assert (first.status_code, first.json()["new"]) == (200, True), first.text
    assert (again.status_code, again.json()["new"]) == (200, False), again.text


def test_an_unknown_answer_and_a_bad_verdict_are_refused(server):
    assert feedback(server, id="chatcmpl-" + "0" * 32, verdict="accepted").status_code == 404
    assert feedback(server, id="chatcmpl-" + "0" * 32, verdict="fine").status_code == 400


def test_what_requests_taught_is_in_the_store(server, sampling, wait_until):
    before = server.metric("alpharay_store_records_total", outcome="written")
    assert server.post(sampling(controls={"budget": 5})).status_code == 200
    wait_until(
        lambda: server.metric("alpharay_store_records_total", outcome="written") > before,
        "a request in the store",
    )
    assert server.metric("alpharay_store_up") == 1
