"""The progress lines of a streamed request: the state of each sample while the client waits."""

from __future__ import annotations

import json

from alpharay.judge.verdict import VerdictKind

from .fakes import NAMES, TESTS, data_events, question, refusal


def steps(text):
    """The progress of a stream, in order."""
    lines = [line.removeprefix(": ") for line in text.splitlines() if line.startswith(": {")]
    return [json.loads(line)["alpharay"] for line in lines]


async def test_every_step_of_every_sample_is_told_in_comment_lines(serving):
    serving.judging.verdict = lambda text: (
        VerdictKind.ACCEPTED if text.startswith("frontier@1 ") else VerdictKind.TIME_LIMIT
    )
    events, text = await serving.events(alpharay={"budget": 5, "tests": TESTS, "stop_after_passes": 5})
    progress = steps(text)
    assert len(progress) == 15
    for number in range(5):
        own = [step for step in progress if step["sample"] == number]
        assert [step["state"] for step in own] == ["drawn", "sampled", "judged"]
        assert len({(step["member"], step["seed"]) for step in own}) == 1
        assert own[2]["verdict"] == ("accepted" if own[0]["member"] == "frontier@1" else "time_limit")
    assert {step["member"] for step in progress} == set(NAMES)
    winner = next(choice for event in events for choice in event["choices"] if "alpharay" in choice)
    assert winner["alpharay"]["seed"] in {step["seed"] for step in progress if step["member"] == "frontier@1"}


async def test_samples_that_are_lost_or_no_longer_needed_are_told_as_such(serving):
    serving.engines.dead = {"frontier@0"}
    serving.engines.seconds = {"frontier@1.5": 500.0}
    serving.judging.verdict = lambda _: VerdictKind.ACCEPTED
    _, text = await serving.events(alpharay={"budget": 5, "tests": TESTS})
    last = {step["member"]: step["state"] for step in steps(text)}
    assert (last["frontier@0"], last["frontier@1.5"]) == ("lost", "aborted")
    assert "judged" in last.values()


async def test_a_judge_out_of_reach_is_told_as_no_verdict(serving):
    serving.judging.away = True
    _, text = await serving.events(alpharay={"budget": 5, "tests": TESTS})
    assert [step["verdict"] for step in steps(text) if step["state"] == "judged"] == [None] * 5


async def test_a_first_sample_sends_the_headers_and_a_refusal_keeps_its_status(serving):
    serving.engines.faults = {name: [refusal(400, "the prompt is too long")] for name in NAMES}
    refused = await serving.http.post(
        "/v1/chat/completions", json=question(stream=True, alpharay={"budget": 5})
    )
    assert refused.status_code == 400
    _, text = await serving.events(alpharay={"budget": 5})
    assert text.startswith(': {"alpharay":{"sample":0,"member":"')
    assert data_events(text)


async def test_an_answer_that_is_not_streamed_holds_no_comments(serving):
    answer = await serving.answer(alpharay={"budget": 5, "tests": TESTS})
    assert "alpharay" in answer
