"""The other dialects over fakes, each through its official client: whole, streamed, pinned, with a budget."""

import json

import anthropic
import httpx
import httpx2
import openai
import pytest

from alpharay.judge.verdict import VerdictKind
from alpharay.serve.transport.clients import SampleLost

from . import engine_answers
from .fakes import NAMES, TESTS, refusal

PINNED = NAMES[4]
REQUESTS = {
    "/v1/completions": {"prompt": "a + b?"},
    "/v1/responses": {"input": "a + b?"},
    "/v1/messages": {"messages": [{"role": "user", "content": "a + b?"}], "max_tokens": 9},
}
PATHS = tuple(REQUESTS)
BUDGET = {"tests": TESTS, "budget": 5}


def accept(member):
    return lambda text: VerdictKind.ACCEPTED if text.startswith(f"{member} ") else VerdictKind.WRONG_ANSWER


def transport(serving):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=serving.app))


def openai_client(serving):
    return openai.AsyncOpenAI(
        base_url="http://frontier/v1", api_key="x", http_client=transport(serving), max_retries=0
    )


def anthropic_client(serving):
    return anthropic.AsyncAnthropic(
        base_url="http://frontier",
        api_key="x",
        http_client=httpx2.AsyncClient(transport=httpx2.ASGITransport(app=serving.app)),
        max_retries=0,
    )


def text_of(path, answer):
    if path == "/v1/completions":
        return answer["choices"][0]["text"]
    if path == "/v1/responses":
        return answer["output"][0]["content"][0]["text"]
    return answer["content"][0]["text"]


def note_of(path, answer):
    return answer["choices"][0]["alpharay"] if path == "/v1/completions" else answer["alpharay"]


async def post(serving, path, **body):
    return await serving.http.post(path, json={"model": "frontier", **REQUESTS[path], **body})


async def answered(serving, path, **body):
    response = await post(serving, path, **body)
    assert response.status_code == 200, response.text
    return response.json()


def events(text):
    """(name, data) of every event; comments are left out."""
    parsed = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines.get("data", "[DONE]") != "[DONE]":
            parsed.append((lines.get("event"), json.loads(lines["data"])))
    return parsed


async def streamed(serving, path, **body):
    response = await post(serving, path, stream=True, **body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    return events(response.text)


def streamed_text(path, stream_events):
    if path == "/v1/completions":
        return "".join(choice["text"] for _, data in stream_events for choice in data["choices"])
    kind = "response.output_text.delta" if path == "/v1/responses" else "content_block_delta"
    pieces = [data["delta"] for name, data in stream_events if name == kind]
    return "".join(piece if isinstance(piece, str) else piece.get("text", "") for piece in pieces)


def streamed_note(path, stream_events):
    """The `alpharay` object of the last event, and that no other event has one."""
    last = stream_events[-1][1]
    assert not any("alpharay" in data for _, data in stream_events[:-1])
    return last["response"]["alpharay"] if path == "/v1/responses" else last["alpharay"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_plain_request_is_answered_by_one_sample(serving, path):
    answer = await answered(serving, path)
    assert len(serving.engines.calls) == 1
    assert text_of(path, answer).startswith(note_of(path, answer)["member"])
    assert answer["model"] == "frontier"
    assert answer["alpharay"]["drawn"] == 1


@pytest.mark.parametrize("path", PATHS)
async def test_tests_are_run_on_the_text_of_each_candidate_and_the_winner_comes_back(serving, path):
    serving.judging.verdict = accept(NAMES[3])
    answer = await answered(serving, path, alpharay=BUDGET)
    note = note_of(path, answer)
    assert (note["member"], note["verdict"]) == (NAMES[3], "accepted")
    assert text_of(path, answer) == f"{NAMES[3]} {note['seed']}" + (" 0" if "compl" in path else "")
    assert answer["alpharay"]["usage"]["completion_tokens"] == answer["alpharay"]["drawn"] * 3


@pytest.mark.parametrize("path", PATHS)
async def test_every_draw_has_a_seed_of_its_own(serving, path):
    await answered(serving, path, alpharay={"budget": 10})
    bodies = [body for _, body, _ in serving.engines.calls]
    seeds = {body.get("seed") or body["vllm_xargs"]["alpharay_seed"] for body in bodies}
    assert len(seeds) == 10
    assert not any(body["stream"] for body in bodies)
    assert not any("alpharay" in body for body in bodies)


@pytest.mark.parametrize("path", PATHS)
async def test_a_pinned_answer_is_the_engines_own_with_notes(serving, path):
    answer = await answered(serving, path, model=PINNED, seed=3)
    assert text_of(path, answer).startswith(f"{PINNED} 3")
    assert (note_of(path, answer)["member"], answer["alpharay"]["drawn"]) == (PINNED, 1)


@pytest.mark.parametrize("path", PATHS)
async def test_a_pinned_stream_is_the_engines_own_token_by_token(serving, path):
    stream_events = await streamed(serving, path, model=PINNED, seed=3)
    text = streamed_text(path, stream_events)
    assert text.startswith(f"{PINNED} 3")
    assert len(stream_events) > len(text)
    assert streamed_note(path, stream_events)["usage"] == {"prompt_tokens": 7, "completion_tokens": 3}
    assert serving.counted("alpharay_samples_total", member=PINNED, outcome="finished") == 1
    assert serving.counted("alpharay_time_to_first_token_seconds_count") == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [1, 7, 100])
async def test_a_pinned_stream_survives_any_cut_of_its_bytes(serving, path, size):
    body = {"seed": 3, "vllm_xargs": {"alpharay_seed": 3}, **REQUESTS[path]}
    whole = b"".join(engine_answers.STREAMS[path](PINNED, body))
    serving.engines.streamed = [whole[start : start + size] for start in range(0, len(whole), size)]
    stream_events = await streamed(serving, path, model=PINNED)
    assert streamed_text(path, stream_events).startswith(f"{PINNED} 3")
    assert streamed_note(path, stream_events)["drawn"] == 1


@pytest.mark.parametrize("path", PATHS)
async def test_a_streamed_budget_replays_the_winner_and_its_last_event_carries_the_notes(serving, path):
    serving.judging.verdict = accept(NAMES[2])
    stream_events = await streamed(serving, path, alpharay=BUDGET)
    assert streamed_text(path, stream_events).startswith(NAMES[2])
    note = streamed_note(path, stream_events)
    assert note["stopped"] == "passes"
    if path != "/v1/completions":
        assert note["verdict"] == "accepted"


@pytest.mark.parametrize("path", PATHS)
async def test_a_streamed_budget_keeps_the_connection_alive_in_its_dialects_way(serving, path):
    serving.engines.seconds = dict.fromkeys(NAMES, 65.0)
    stream_events = await streamed(serving, path, alpharay={"budget": 5})
    alive = {
        "/v1/completions": lambda data: data["choices"] and data["choices"][0]["finish_reason"] is None,
        "/v1/responses": lambda data: data["type"] == "response.in_progress",
        "/v1/messages": lambda data: data.get("delta", {}).get("type") == "thinking_delta",
    }[path]
    beats = sum(bool(alive(data)) for _, data in stream_events)
    assert beats == 6 + (path == "/v1/responses")  # every 10 s of 65; Responses begin with one
    assert streamed_text(path, stream_events)


async def test_the_interval_of_keep_alives_is_configured(serve):
    serving = await serve(server={"keep_alive_s": 2})
    serving.engines.seconds = dict.fromkeys(NAMES, 11.0)
    stream_events = await streamed(serving, "/v1/responses", alpharay={"budget": 5})
    assert sum(name == "response.in_progress" for name, _ in stream_events) == 6


@pytest.mark.parametrize("path", PATHS)
async def test_an_error_after_the_headers_is_told_in_the_dialects_own_event(serving, path):
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    stream_events = await streamed(serving, path, alpharay={"budget": 5, "deadline_s": 60})
    name, last = stream_events[-1]
    if path == "/v1/responses":
        assert (name, last["response"]["status"]) == ("response.failed", "failed")
        assert "deadline" in last["response"]["error"]["message"]
    else:
        assert last["error"]["type"] == "overloaded_error"
        assert name == (None if path == "/v1/completions" else "error")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_engines_refusal_keeps_its_status_in_the_dialects_own_error(serving, path, stream):
    serving.engines.faults = {name: [refusal(400, "the prompt is too long")] for name in NAMES}
    response = await post(serving, path, stream=stream)
    error = response.json()
    assert response.status_code == 400
    assert error["error"]["message"] == "the prompt is too long"
    assert error["error"]["type"] == "invalid_request_error"
    assert (error.get("type") == "error") == (path == "/v1/messages")


@pytest.mark.parametrize("path", PATHS)
async def test_an_engine_lost_in_the_middle_of_a_stream_is_told_as_its_last_event(serving, path):
    body = {"seed": 3, "vllm_xargs": {"alpharay_seed": 3}, **REQUESTS[path]}
    parts = list(engine_answers.STREAMS[path](PINNED, body))
    serving.engines.streamed = [*parts[:5], SampleLost("it died")]
    stream_events = await streamed(serving, path, model=PINNED)
    last = stream_events[-1][1]
    assert "restarted" in json.dumps(last)
    assert serving.counted("alpharay_samples_total", outcome="lost") == 1


async def test_the_official_client_reads_completions_whole_and_streamed(serving):
    client = openai_client(serving)
    arguments = {"model": "frontier", "prompt": "x", "extra_body": {"alpharay": {"budget": 5}}}
    whole = await client.completions.create(n=2, **arguments)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert {choice.model_extra["alpharay"]["member"] for choice in whole.choices} <= set(NAMES)
    chunks = [chunk async for chunk in await client.completions.create(stream=True, **arguments)]
    assert chunks[-1].model_extra["alpharay"]["drawn"] == 5


@pytest.mark.parametrize("model", ["frontier", PINNED])
async def test_the_official_client_puts_a_response_together_from_its_events(serving, model):
    serving.engines.seconds = dict.fromkeys(NAMES, 25.0)
    client = openai_client(serving)
    own = {"budget": 5} if model == "frontier" else {}
    async with client.responses.stream(
        model=model, input="x", extra_body={"alpharay": own}, timeout=600
    ) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert final.output_text.startswith("frontier@")
    assert final.status == "completed"
    assert final.model_extra["alpharay"]["member"] in final.output_text
    assert final.id.startswith("resp_")


@pytest.mark.parametrize("model", ["frontier", PINNED])
async def test_the_official_client_puts_a_message_together_from_its_events(serving, model):
    serving.engines.seconds = dict.fromkeys(NAMES, 25.0)
    client = anthropic_client(serving)
    own = {"budget": 5} if model == "frontier" else {}
    async with client.messages.stream(
        model=model, extra_body={"alpharay": own}, **REQUESTS["/v1/messages"], timeout=600
    ) as stream:
        final = await stream.get_final_message()
    assert final.content[-1].text.startswith("frontier@")
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 3)
    assert final.id.startswith("msg_")
    raw = await client.messages.create(
        model=model, stream=True, extra_body={"alpharay": own}, **REQUESTS["/v1/messages"], timeout=600
    )
    last = [event async for event in raw][-1]
    assert last.type == "message_stop"
    assert last.model_extra["alpharay"]["drawn"] == (5 if own else 1)


async def test_the_official_client_raises_its_own_errors_for_messages(serving):
    client = anthropic_client(serving)
    with pytest.raises(anthropic.NotFoundError, match="gpt-4"):
        await client.messages.create(model="gpt-4", **REQUESTS["/v1/messages"])
    with pytest.raises(anthropic.BadRequestError, match="budget"):
        await client.messages.create(
            model="frontier", extra_body={"alpharay": {"budgte": 3}}, **REQUESTS["/v1/messages"]
        )


@pytest.mark.parametrize("model", ["frontier", PINNED])
async def test_tokens_are_counted_by_any_member_that_lives(serving, model):
    serving.engines.dead = set(NAMES[:2])
    body = {"model": model, "messages": REQUESTS["/v1/messages"]["messages"]}
    response = await serving.http.post("/v1/messages/count_tokens?beta=true", json=body)
    assert (response.status_code, response.json()) == (200, {"input_tokens": 1})
    unknown = await serving.http.post("/v1/messages/count_tokens", json={**body, "model": "gpt-4"})
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")
    serving.engines.dead = set(NAMES)
    away = await serving.http.post("/v1/messages/count_tokens", json=body)
    assert (away.status_code, away.headers["retry-after"].isdigit()) == (503, True)


async def test_beta_queries_and_unknown_fields_of_messages_are_tolerated(serving):
    body = {"model": "frontier", "context_management": {"edits": []}, "speed": 1, **REQUESTS["/v1/messages"]}
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "x"}
    response = await serving.http.post("/v1/messages?beta=true", json=body, headers=headers)
    assert response.status_code == 200
    assert (await serving.http.head("/")).status_code == 200


async def test_what_kept_a_message_alive_is_left_out_when_it_comes_back(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 25.0)
    client = anthropic_client(serving)
    async with client.messages.stream(
        model="frontier", extra_body={"alpharay": {"budget": 5}}, **REQUESTS["/v1/messages"]
    ) as stream:
        final = await stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    serving.engines.calls.clear()
    again = [
        *REQUESTS["/v1/messages"]["messages"],
        {"role": "assistant", "content": [block.model_dump() for block in final.content]},
        {"role": "user", "content": "again"},
    ]
    await client.messages.create(model="frontier", max_tokens=9, messages=again)
    ((_, sent, _),) = serving.engines.calls
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["text"]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
async def test_a_dialect_with_room_for_one_candidate_says_so(serving, path):
    response = await post(serving, path, alpharay={"budget": 5, "return": "all"})
    assert response.status_code == 400
    assert "room for one" in response.json()["error"]["message"]


async def test_several_prompts_are_one_sample_with_a_choice_each(serving):
    answer = await answered(serving, "/v1/completions", prompt=["a", "b"])
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert len(serving.engines.calls) == 1
    assert "clamped" not in answer["alpharay"]
    refused = await post(serving, "/v1/completions", prompt=["a", "b"], alpharay=BUDGET)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")
    assert (await post(serving, "/v1/completions", prompt=[1, 2, 3], alpharay=BUDGET)).status_code == 200


async def test_what_is_filled_in_is_judged_between_its_prompt_and_suffix(serving):
    await answered(serving, "/v1/completions", prompt="def f():\n", suffix="\n# end", alpharay=BUDGET)
    texts = [text for _, text, *_ in serving.judging.calls]
    assert all(text.startswith("def f():\nfrontier@") and text.endswith("\n# end") for text in texts)
    assert {body["suffix"] for _, body, _ in serving.engines.calls} == {"\n# end"}


async def test_what_was_left_out_of_an_agents_request_is_said(serving):
    tools = [{"type": "function", "name": "f"}, {"type": "web_search"}]
    answer = await answered(serving, "/v1/responses", tools=tools)
    assert answer["alpharay"]["left_out"] == ["tools: web_search"]
    ((_, sent, _),) = serving.engines.calls
    assert [tool["name"] for tool in sent["tools"]] == ["f"]


async def test_callers_choose_no_ids_and_salts_in_the_engine(serving):
    await answered(serving, "/v1/responses", request_id="mine", cache_salt="mine")
    ((_, sent, headers),) = serving.engines.calls
    assert sent["request_id"] == f"resp_{headers['x-request-id']}"
    assert "cache_salt" not in sent
