"""What a stream holds: several choices side by side, usage as requested, events that any client reads, how a response ends."""

import asyncio
import json

import pytest

from alpharay.serve.dialects import chat, responses_input
from alpharay.serve.transport.clients import SampleLost

from . import engine_answers
from .clock import pass_time
from .fakes import NAMES, PROMPT_TOKENS, Call, completion, question, rebuilt, stream_of
from .test_dialects import REQUESTS, events, streamed_note
from .test_refusals import PINNED, own_stream, post

CHUNKS = ("/v1/chat/completions", "/v1/completions")
ODD = "x = 1\u2028y = 2\u2029z = 3\x85print(x)\x0b\x0c\x1c\x1d\x1e\r\n"


def texts(stream_events):
    """{choice: its text} of a stream of chunks."""
    pieces = {}
    for _, chunk in stream_events:
        for choice in chunk["choices"]:
            text = choice.get("text") or choice.get("delta", {}).get("content") or ""
            pieces[choice["index"]] = pieces.get(choice["index"], "") + text
    return pieces


def whole_text(choice):
    return choice["text"] if "text" in choice else choice["message"]["content"]


# Several choices


@pytest.mark.parametrize("path", CHUNKS)
async def test_several_choices_stream_side_by_side_and_are_those_of_the_same_request_unstreamed(
    serving, path
):
    stream_events = events((await post(serving, path, n=3, seed=7, stream=True)).text)
    whole = (await post(serving, path, n=3, seed=7)).json()
    # An engine's own answer numbers its only choice 0, which is what it names in its text here.
    assert texts(stream_events) == {choice["index"]: whole_text(choice) for choice in whole["choices"]}
    written = [chunk["choices"][0]["index"] for _, chunk in stream_events if chunk["choices"]]
    assert written != sorted(written)
    assert len({(chunk["id"], chunk["model"], chunk["created"]) for _, chunk in stream_events}) == 1
    ends = {
        choice["index"]: choice
        for _, chunk in stream_events
        for choice in chunk["choices"]
        if choice["finish_reason"]
    }
    assert {index: end["alpharay"] for index, end in ends.items()} == {
        choice["index"]: choice["alpharay"] for choice in whole["choices"]
    }
    note = streamed_note("/v1/completions", stream_events)
    assert (note["drawn"], note["usage"]) == (3, whole["alpharay"]["usage"])
    assert note["members"] == whole["alpharay"]["members"]
    assert serving.counted("alpharay_samples_total", outcome="finished") == 6


@pytest.mark.parametrize("path", CHUNKS)
async def test_the_usage_of_several_choices_comes_once_and_last(serving, path):
    body = {"n": 2, "stream": True, "stream_options": {"include_usage": True}}
    stream_events = events((await post(serving, path, **body)).text)
    assert [chunk.get("usage") for _, chunk in stream_events[:-1]] == [None] * (len(stream_events) - 1)
    last = stream_events[-1][1]
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 6)
    assert last["usage"]["prompt_tokens"] == PROMPT_TOKENS
    assert last["alpharay"]["drawn"] == 2


async def test_a_choice_whose_engine_is_lost_before_it_says_anything_is_drawn_elsewhere(serving):
    serving.engines.dead = {NAMES[0], NAMES[1]}
    stream_events = events((await post(serving, CHUNKS[0], n=4, stream=True)).text)
    assert len(texts(stream_events)) == 4
    assert not stream_events[-1][1]["alpharay"]["members"].keys() & serving.engines.dead
    assert serving.counted("alpharay_samples_total", outcome="lost") >= 1


async def test_several_choices_of_which_one_is_lost_in_the_middle_end_with_an_error(serving):
    half = [
        b'data: {"id":"chatcmpl-1-0","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    ]
    serving.engines.streamed = [*half, SampleLost("it died")]
    stream_events = events((await post(serving, CHUNKS[0], n=2, stream=True)).text)
    assert stream_events[-1][1]["error"]["code"] == "no_capacity"


async def test_choices_that_end_before_they_are_read_are_all_there(serving):
    chunk = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"all"},"finish_reason":%b}]}\n\n'
    spent = (
        b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
    )
    serving.engines.streamed = [chunk % b"null" + chunk % b'"stop"' + spent]
    response = await post(serving, CHUNKS[0], n=2, stream=True)
    assert texts(events(response.text)) == {0: "allall", 1: "allall"}


async def test_a_choice_that_cannot_be_read_ends_the_stream_with_an_error(serving):
    serving.engines.streamed = [b"data: {no JSON\n\n"]
    response = await post(serving, CHUNKS[0], n=2, stream=True)
    assert "internal error" in response.text


async def test_several_choices_that_no_engine_can_give_are_503(serving):
    serving.engines.dead = set(NAMES)
    response = await post(serving, CHUNKS[0], n=2, stream=True)
    assert (response.status_code, response.headers["retry-after"].isdigit()) == (503, True)


async def test_a_client_that_leaves_several_choices_frees_every_slot(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    call = Call(serving.app, question(n=3, stream=True))
    await pass_time(5)
    assert len(serving.engines.held) == 3
    call.leave()
    await call.end()
    assert serving.nothing_is_held()
    assert serving.counted("alpharay_samples_total", outcome="aborted") == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_several_prompts_have_several_choices_each_of_one_member(serving, stream):
    response = await post(serving, "/v1/completions", prompt=["a", "b"], n=2, stream=stream)
    assert response.status_code == 200
    assert len(serving.engines.calls) == 1
    if stream:
        choice_texts = texts(events(response.text))
    else:
        choice_texts = {choice["index"]: choice["text"] for choice in response.json()["choices"]}
    assert sorted(choice_texts) == [0, 1, 2, 3]
    assert len({text.split()[0] for text in choice_texts.values()}) == 1


# Usage


@pytest.mark.parametrize("path", CHUNKS)
@pytest.mark.parametrize(
    "options",
    [None, {}, {"continuous_usage_stats": True}, {"include_usage": False, "continuous_usage_stats": True}],
)
async def test_usage_that_is_not_asked_for_is_in_no_event(serving, path, options):
    for model, own in ((PINNED, {}), ("frontier", {}), ("frontier", {"alpharay": {"budget": 2}})):
        stream_events = events(
            (await post(serving, path, model, stream=True, stream_options=options, **own)).text
        )
        assert not any(chunk.get("usage") for _, chunk in stream_events)
    sent_options = [sent["stream_options"] for _, sent, _ in serving.engines.calls if sent["stream"]]
    assert sent_options == [{**(options or {}), "include_usage": True, "continuous_usage_stats": False}] * 2


@pytest.mark.parametrize("path", CHUNKS)
async def test_continuous_usage_is_in_every_event(serving, path):
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream_events = events(
        (await post(serving, path, stream=True, stream_options=options, alpharay={"budget": 2})).text
    )
    assert all(chunk["usage"]["completion_tokens"] == 3 for _, chunk in stream_events)
    await post(serving, path, PINNED, stream=True, stream_options=options)
    assert serving.engines.calls[-1][1]["stream_options"] == options


# Events that any client reads


@pytest.mark.parametrize("options", [{"model": PINNED}, {}, {"n": 2}, {"alpharay": {"budget": 2}}])
async def test_no_event_holds_a_character_that_a_client_takes_for_the_end_of_a_line(serving, options):
    serving.engines.answer = lambda member, body: json.loads(
        json.dumps(completion(member, body)).replace(member, json.dumps(ODD)[1:-1])
    )
    stream = (await post(serving, CHUNKS[0], stream=True, **options)).content.decode()
    lines = [line for line in stream.splitlines() if line.startswith("data: {")]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert all(text.startswith(ODD) for text in rebuilt(chunks).values())


@pytest.mark.parametrize("path", REQUESTS)
async def test_what_other_dialects_pass_through_holds_no_such_character_either(serving, path):
    letter = '"\u2028\u2029\x85"'.encode()
    serving.engines.streamed = [part.replace(b'"f"', letter) for part in own_stream(path)]
    stream = (await post(serving, path, PINNED, stream=True)).content.decode()
    assert "\\u2028" in stream
    assert not {"\u2028", "\u2029", "\x85"} & set(stream)


# How a response ends


def cut_response(member, body):
    return engine_answers.response(member, body) | {"status": "incomplete", "incomplete_details": None}


@pytest.mark.parametrize("options", [{"model": PINNED}, {}, {"alpharay": {"budget": 2}}])
async def test_a_response_that_ran_out_of_tokens_ends_incomplete(serving, options, monkeypatch):
    monkeypatch.setitem(engine_answers.ANSWERS, "/v1/responses", cut_response)
    stream = b"".join(engine_answers.response_stream(PINNED, {"seed": 3}))
    begun, _, last = stream.rpartition(b"event: ")
    last = last.replace(b'"status": "completed", "model"', b'"status": "incomplete", "model"')
    serving.engines.streamed = [begun + b"event: " + last]
    stream_events = events((await post(serving, "/v1/responses", stream=True, **options)).text)
    whole = (await post(serving, "/v1/responses", **options)).json()
    name, final = stream_events[-1]
    assert (name, final["type"]) == ("response.incomplete", "response.incomplete")
    for response in (final["response"], whole):
        assert response["status"] == "incomplete"
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert [item["status"] for item in response["output"]] == ["incomplete"]
        assert response["alpharay"]["drawn"]
    done = [data for kind, data in stream_events if kind == "response.output_item.done"]
    assert [data["item"]["status"] for data in done] == ["incomplete"]
    numbers = [data["sequence_number"] for _, data in stream_events]
    assert numbers == list(range(len(numbers)))


# What comes back from an earlier turn


@pytest.mark.parametrize(
    ("item", "content"),
    [
        ({"role": "assistant", "content": [{"type": "output_text", "text": "a"}]}, "a"),
        ({"role": "assistant", "id": "m", "content": [{"type": "text", "text": "a"}]}, "a"),
        ({"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, "no"),
        ({"role": "assistant", "content": [{"type": "output_text", "text": w} for w in "ab"]}, "ab"),
        ({"role": "assistant", "content": "a"}, "a"),
        ({"role": "user", "content": [{"type": "text", "text": "a"}]}, [{"type": "input_text", "text": "a"}]),
        ({"role": "user", "content": [{"type": "input_image"}]}, [{"type": "input_image"}]),
        ({"role": "assistant", "content": [{"type": "odd"}]}, [{"type": "odd"}]),
    ],
)
def test_an_earlier_message_reaches_the_engine_as_it_reads_it(item, content):
    fields, left_out = responses_input.tidied({"input": [item]})
    assert fields["input"][0]["content"] == content
    assert left_out == ()


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ({"content": None, "refusal": "no", "audio": None, "tool_calls": None}, {"content": "no"}),
        ({"content": "a", "refusal": None, "tool_calls": []}, {"content": "a"}),
        ({"content": None, "tool_calls": [{"id": "c"}]}, {"content": None, "tool_calls": [{"id": "c"}]}),
        ({"content": None}, {"content": ""}),
        ({"tool_calls": [{"id": "c"}]}, {"tool_calls": [{"id": "c"}]}),
    ],
)
def test_an_earlier_answer_reaches_the_engine_without_its_empty_fields(message, sent):
    fields, _ = chat.tidied({"messages": [{"role": "assistant", **message}]})
    assert fields["messages"] == [{"role": "assistant", **sent}]


def by_member(serving, streams):
    """Each engine call sends the next of those streams; an exception among its parts is raised."""
    waiting = list(streams)

    async def stream(member, path, body, headers):
        yield 200, "text/event-stream; charset=utf-8"
        for part in waiting.pop(0)(member, json.loads(body.whole())):
            if isinstance(part, Exception):
                await asyncio.sleep(3)  # the headers are out meanwhile
                raise part
            yield part

    serving.engines.stream = stream


async def test_what_a_lost_engine_said_before_it_answered_is_not_told(serving):
    def dies(member, body):
        yield from list(engine_answers.STREAMS["/v1/responses"](member, body))[:1]
        yield SampleLost("it died")

    by_member(serving, [dies] * len(NAMES))
    text = (await post(serving, "/v1/responses", stream=True)).text
    assert text.count("event: response.created") == 1
    assert "event: response.failed" in text


async def test_a_choice_that_is_whole_stays_whole_when_its_connection_breaks(serving):
    def breaks(member, body):
        *parts, _ = stream_of(completion(member, body), body)
        yield from parts
        yield SampleLost("it died")

    by_member(serving, [breaks, breaks])
    stream_events = events((await post(serving, CHUNKS[0], n=2, stream=True)).text)
    assert "error" not in stream_events[-1][1]
    assert serving.counted("alpharay_samples_total", outcome="finished") == 2
