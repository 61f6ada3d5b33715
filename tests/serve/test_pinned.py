"""A pinned member: its engine's own answer, with our notes."""

import json

import pytest

from alpharay.serve.dialects import openai
from alpharay.serve.transport.clients import SampleLost

from .fakes import (
    COMPLETION_TOKENS,
    NAMES,
    PROMPT_TOKENS,
    completion,
    question,
    rebuilt,
    refusal,
    stream_of,
)

PINNED = NAMES[4]


def whole_stream(**body):
    request = question(**{"seed": 3, "stream_options": {"include_usage": True}, **body})
    return b"".join(stream_of(completion(PINNED, request), request))


def cut(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


async def test_a_pinned_answer_is_the_engines_own_with_notes(serving):
    answer = await serving.answer(model=PINNED, n=2, seed=3)
    own = completion(PINNED, {"n": 2, "seed": 3})
    notes = [choice.pop("alpharay") for choice in answer["choices"]]
    summary = answer.pop("alpharay")
    assert answer == own
    assert {(note["member"], note["alpha"], note["seed"], note["verdict"]) for note in notes} == {
        (PINNED, 1.5, 3, None),
        (PINNED, 1.5, 4, None),
    }
    assert (summary["budget"], summary["drawn"], summary["judge"]) == (2, 2, "not_asked")
    assert summary["usage"] == {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": 2 * COMPLETION_TOKENS}
    assert len(serving.engines.calls) == 1


@pytest.mark.parametrize("name", ["1.5", PINNED])
async def test_a_base_url_pins_a_member_as_the_header_does(serving, name):
    answer = await serving.http.post(f"/members/{name}/v1/chat/completions", json=question(seed=3))
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["alpharay"]["member"] == PINNED
    anthropic = await serving.http.post(f"/members/{name}//v1/messages", json={"alpharay": {"x": 1}})
    assert anthropic.status_code == 400
    assert anthropic.json()["type"] == "error"  # in the dialect of the request
    models = await serving.http.get(f"/members/{name}/v1/models")
    assert models.status_code == 200


async def test_a_base_url_of_no_member_names_the_nearest(serving):
    answer = await serving.http.post("/members/frontier@1.6/v1/chat/completions", json=question())
    assert answer.status_code == 400
    assert "did you mean 'frontier@1.5'" in answer.json()["error"]["message"]


async def test_a_pinned_stream_is_the_engines_own_token_by_token(serving):
    events, _ = await serving.events(model=PINNED, seed=3)
    text = completion(PINNED, {"seed": 3})["choices"][0]["message"]["content"]
    assert rebuilt(events) == {0: text}
    assert len(events) == len(text) + 2  # a role, every letter, an end


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 64, 10_000])
async def test_a_pinned_stream_survives_any_cut_of_its_bytes(serving, size):
    serving.engines.streamed = cut(whole_stream(), size)
    events, _ = await serving.events(model=PINNED)
    assert rebuilt(events) == {0: completion(PINNED, {"seed": 3})["choices"][0]["message"]["content"]}
    assert events[-1]["alpharay"]["usage"]["completion_tokens"] == COMPLETION_TOKENS


async def test_text_that_is_cut_in_the_middle_of_a_letter_arrives_whole(serving):
    content = 'é "finish_reason":null \n\n data: [DONE] 漢字 🙂'
    serving.engines.answer = lambda member, body: (
        completion(member, body)
        | {
            "choices": [
                completion(member, body)["choices"][0]
                | {"message": {"role": "assistant", "content": content}}
            ]
        }
    )
    request = question(stream_options={"include_usage": True})
    whole = b"".join(stream_of(serving.engines.answer(PINNED, request), request))
    serving.engines.streamed = cut(whole, 1)
    events, _ = await serving.events(model=PINNED)
    assert rebuilt(events) == {0: content}


async def test_without_include_usage_the_last_event_ends_the_choice_and_carries_the_summary(serving):
    events, _ = await serving.events(model=PINNED)
    assert not any("usage" in event for event in events)
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["choices"][0]["alpharay"]["member"] == PINNED
    assert events[-1]["alpharay"]["drawn"] == 1


async def test_with_include_usage_the_last_event_is_the_usage_and_carries_the_summary(serving):
    events, _ = await serving.events(model=PINNED, stream_options={"include_usage": True})
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == COMPLETION_TOKENS
    assert events[-1]["alpharay"]["drawn"] == 1
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert "alpharay" not in events[-2]


async def test_each_of_several_streamed_choices_has_its_note(serving):
    events, _ = await serving.events(model=PINNED, n=3)
    ends = [
        event["choices"][0] for event in events if event["choices"] and event["choices"][0]["finish_reason"]
    ]
    assert [end["index"] for end in ends] == [0, 1, 2]
    assert {end["alpharay"]["member"] for end in ends} == {PINNED}
    assert [event for event in events if "alpharay" in event] == [events[-1]]


async def test_a_pinned_answer_is_counted(serving):
    await serving.answer(model=PINNED)
    await serving.events(model=PINNED)
    assert serving.counted("alpharay_samples_total", member=PINNED, outcome="finished") == 2
    assert serving.counted("alpharay_tokens_total", member=PINNED, kind="completion") == 2 * COMPLETION_TOKENS
    assert serving.counted("alpharay_selected_total", member=PINNED) == 2
    assert serving.counted("alpharay_requests_total", outcome="ok") == 2
    assert serving.counted("alpharay_time_to_first_token_seconds_count") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_pinned_member_whose_engine_is_lost_answers_503_and_when_to_try_again(serving, stream):
    serving.engines.faults = {PINNED: [SampleLost("it died")]}
    response = await serving.chat(model=PINNED, stream=stream)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert PINNED in response.json()["error"]["message"]


async def test_an_error_event_of_the_engine_becomes_our_own(serving):
    event = openai.event({"error": {"message": "", "code": 500}})
    serving.engines.streamed = [whole_stream()[:400].rpartition(b"\n\n")[0] + b"\n\n", event, openai.DONE]
    events, _ = await serving.events(model=PINNED)
    assert "fails on this request" in events[-1]["error"]["message"]
    assert events[-1]["error"]["type"] == "server_error"
    assert serving.counted("alpharay_samples_total", outcome="lost") == 1


async def test_an_error_that_is_the_first_event_has_its_status(serving):
    serving.engines.streamed = [openai.event({"error": {"message": "", "code": 500}}), openai.DONE]
    response = await serving.chat(model=PINNED, stream=True)
    assert (response.status_code, response.json()["error"]["type"]) == (500, "server_error")


async def test_a_request_for_any_member_whose_engine_fails_at_once_is_answered_by_another(serving):
    original_stream, members = serving.engines.stream, []

    async def stream(member, path, body, headers):
        members.append(member)
        if len(members) > 1:
            async for part in original_stream(member, path, body, headers):
                yield part
            return
        yield 200, "text/event-stream; charset=utf-8"
        yield openai.event({"error": {"message": "", "code": 500}})

    serving.engines.stream = stream
    events, _ = await serving.events()
    assert len(set(members)) == 2
    assert "error" not in events[-1]


async def test_a_stream_that_is_refused_counts_as_invalid(serving):
    serving.engines.faults = {PINNED: [refusal(404, "no such tool")]}
    response = await serving.chat(model=PINNED, stream=True)
    assert (response.status_code, response.headers["content-type"]) == (404, "application/json")
    assert json.loads(response.text)["error"]["message"] == "no such tool"


async def test_a_pinned_request_tells_the_engine_its_id(serving):
    await serving.answer(model=PINNED)
    ((_, body, headers),) = serving.engines.calls
    assert headers["x-request-id"]
    assert body["model"] == PINNED


async def test_a_request_on_which_every_members_engine_fails_is_no_reason_to_try_again(serving):
    serving.engines.streamed = [openai.event({"error": {"message": "", "code": 500}})]
    response = await serving.chat(stream=True)
    assert (response.status_code, "retry-after" in response.headers) == (500, False)
    assert len({member for member, _, _ in serving.engines.calls}) == len(serving.members)


async def test_pinned_requests_take_no_turn_of_the_members(serving):
    members = []
    for _ in range(5):
        for _ in range(4):
            await serving.answer(model=PINNED)
        members.append((await serving.answer())["choices"][0]["alpharay"]["member"])
    assert set(members) == {member.name for member in serving.members}
