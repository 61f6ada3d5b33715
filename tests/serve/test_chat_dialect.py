import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpharay.serve.dialects import DIALECTS, chat, openai
from alpharay.serve.dialects.chat import events as chat_events
from alpharay.serve.dialects.dialect import Dialect, Origin

from .fakes import Serving, data_events, question

ORIGIN = Origin(request_id="abc", model="frontier", created=17)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text("abc", min_size=1),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.text("fg", min_size=1), "arguments": TEXTS}),
        }
    ),
    min_size=1,
    max_size=3,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | TEXTS},
    optional={"reasoning": TEXTS, "reasoning_content": TEXTS, "tool_calls": CALLS, "refusal": st.none()},
)
RESPONSES = st.builds(
    lambda message, finish, prompt, spent: {
        "id": "chatcmpl-engine",
        "object": "chat.completion",
        "created": 17,
        "model": "frontier@1",
        "system_fingerprint": None,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": finish, "stop_reason": None}
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": spent, "total_tokens": prompt + spent},
    },
    MESSAGES,
    st.sampled_from(["stop", "length", "tool_calls"]),
    st.integers(0, 99),
    st.integers(0, 99),
)
ANSWERS = st.lists(RESPONSES, min_size=1, max_size=3).map(
    lambda responses: chat.answer(
        ORIGIN,
        responses,
        [{"member": f"m{number}"} for number in range(len(responses))],
        {"drawn": 9},
    )
)


def request(**body):
    return chat.read(question(**body))


def put_together(events):
    """The messages that a client makes of a stream, as the official one does."""
    choices = {}
    for event in events:
        for piece in event["choices"]:
            choice = choices.setdefault(piece["index"], {"message": {}, "finish_reason": None})
            message = choice["message"]
            for name, value in piece["delta"].items():
                if name == "role":
                    message["role"] = value
                elif name == "tool_calls":
                    for call in value:
                        assert call["index"] == len(message.setdefault("tool_calls", []))
                        message["tool_calls"].append({key: call[key] for key in call if key != "index"})
                else:
                    message[name] = message.get(name, "") + value
            choice["finish_reason"] = piece["finish_reason"] or choice["finish_reason"]
    return [choices[index] for index in sorted(choices)]


def non_empty_fields(message):
    """A message without its null and empty fields."""
    return {name: value for name, value in message.items() if value}


@given(ANSWERS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_client_that_puts_the_events_together_has_the_message(whole, include_usage):
    events = data_events(b"".join(chat_events(whole, include_usage=include_usage)).decode())
    rebuilt = put_together(events)
    assert [non_empty_fields(choice["message"]) for choice in rebuilt] == [
        non_empty_fields(choice["message"]) for choice in whole["choices"]
    ]
    assert [c["finish_reason"] for c in rebuilt] == [c["finish_reason"] for c in whole["choices"]]


@given(ANSWERS, st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_summary_travels_in_the_last_event_and_only_there(whole, include_usage):
    events = data_events(b"".join(chat_events(whole, include_usage=include_usage)).decode())
    assert events[-1]["alpharay"] == {"drawn": 9}
    assert not any("alpharay" in event for event in events[:-1])
    assert ("usage" in events[-1]) == include_usage
    assert {(event["id"], event["model"], event["object"]) for event in events} == {
        ("chatcmpl-abc", "frontier", "chat.completion.chunk")
    }


@given(ANSWERS)
@settings(max_examples=30, deadline=None)
def test_choices_are_streamed_one_after_the_other_each_with_its_note(whole):
    events = data_events(b"".join(chat_events(whole, include_usage=False)).decode())
    order = [event["choices"][0]["index"] for event in events]
    assert order == sorted(order)
    notes = [event["choices"][0]["alpharay"] for event in events if "alpharay" in event["choices"][0]]
    assert notes == [choice["alpharay"] for choice in whole["choices"]]


@given(st.lists(RESPONSES, min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_an_answer_carries_the_messages_as_the_engine_made_them(responses):
    notes = [{"member": number} for number in range(len(responses))]
    whole = chat.answer(ORIGIN, responses, notes, {})
    assert [choice["message"] for choice in whole["choices"]] == [
        r["choices"][0]["message"] for r in responses
    ]
    assert [choice["index"] for choice in whole["choices"]] == list(range(len(responses)))
    assert [choice["alpharay"] for choice in whole["choices"]] == notes
    usage = whole["usage"]
    assert usage["completion_tokens"] == sum(r["usage"]["completion_tokens"] for r in responses)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_line_break_in_a_text_does_not_break_its_event():
    assert openai.event({"text": "a\n\nb\r\n\u2028"}).count(b"\n\n") == 1


def test_a_draw_asks_the_engine_for_one_whole_sample_with_its_seed():
    sampling_request = request(
        n=4, stream=True, stream_options={"include_usage": True}, best_of=9, alpharay={"budget": 9}, top_k=3
    )
    body = json.loads(chat.engine_body(sampling_request, "frontier@1", seed=77, draw=True).whole())
    assert (body["n"], body["stream"], body["seed"], body["model"]) == (1, False, 77, "frontier@1")
    assert body["top_k"] == 3
    assert body["messages"] == sampling_request.body["messages"]
    assert not {"alpharay", "best_of", "stream_options"} & body.keys()


def test_a_pinned_request_passes_everything_else_through():
    sampling_request = request(n=4, seed=3, top_k=3, logit_bias={"1": 2}, alpharay={}, best_of=4)
    body = json.loads(chat.engine_body(sampling_request, "frontier@1", seed=3, draw=False).whole())
    assert body == question(model="frontier@1", n=4, seed=3, top_k=3, logit_bias={"1": 2}, stream=False)


def test_a_pinned_stream_always_asks_for_the_usage_and_keeps_other_stream_options():
    sampling_request = request(stream=True, stream_options={"include_usage": False, "other": 1})
    body = json.loads(chat.engine_body(sampling_request, "frontier@1", seed=3, draw=False).whole())
    expected = {"include_usage": True, "continuous_usage_stats": False, "other": 1}
    assert body["stream_options"] == expected
    assert not sampling_request.include_usage


@pytest.mark.parametrize("content", [None, [{"type": "text"}], 3])
def test_an_answer_without_text_is_judged_as_empty(content):
    assert chat.text({"choices": [{"message": {"content": content}}]}) == ""


def test_an_answer_without_usage_counts_as_nothing_spent():
    assert chat.usage({}) == chat.usage({"usage": None}) == (0, 0)
    assert chat.usage({"usage": {"prompt_tokens": 3}}) == (3, 0)


def test_fields_that_the_engine_reads_are_left_to_the_engine():
    assert request(temperature="warm", messages=5).greedy is False


def test_a_dialect_that_lacks_something_is_refused_by_what_it_lacks():
    class Unfinished(type(chat)):
        pass

    class Nameless(Dialect):
        NAME, SINGLE = "nameless", True
        conversation = engine_body = text = usage = answer = replay = passage = None

    assert Unfinished().PATH == chat.PATH
    with pytest.raises(TypeError, match="the dialect Nameless lacks PATH, ID, SUMMARY, REQUIRED, FIELDS"):
        Nameless()


async def test_every_dialect_is_served_and_described():
    paths = Serving().app.openapi()["paths"]
    for dialect in DIALECTS:
        assert paths[dialect.PATH]["post"]["summary"] == dialect.SUMMARY
