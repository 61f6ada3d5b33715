"""Responses, Messages, models and error objects as vLLM's own server answers them."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest

from .target import ANTHROPIC, ASKED, CHAT, COMPLETIONS, MESSAGES, PROMPT, RESPONSES, Target

pytestmark = pytest.mark.engine

LONG = "a b c d e f g h " * 400


def output_text(response):
    return "".join(part["text"] for item in response["output"] for part in item["content"])


# Responses


def test_a_response_has_its_shape(target: Target):
    response = target.answer(RESPONSES)
    assert response["object"] == "response"
    assert response["id"].startswith("resp_")
    assert response["output"][0]["role"] == "assistant"
    assert response["usage"]["output_tokens"] == 6


def test_a_response_that_ran_out_of_tokens_is_incomplete(target: Target):
    response = target.answer(RESPONSES)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"]["reason"] == "max_output_tokens"


def test_a_streamed_response_that_ran_out_of_tokens_ends_incomplete(target: Target):
    name, last = target.events(RESPONSES)[-1]
    assert (name, last["response"]["status"]) == ("response.incomplete", "incomplete")


def test_a_responses_events_are_numbered_and_build_its_text(target: Target):
    events = target.events(RESPONSES)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    assert [name for name, _ in events[:2]] == ["response.created", "response.in_progress"]
    assert all(name == data["type"] for name, data in events)
    pieces = "".join(data["delta"] for name, data in events if name == "response.output_text.delta")
    assert pieces == output_text(events[-1][1]["response"])


def test_instructions_are_part_of_the_prompt(target: Target):
    plain = target.answer(RESPONSES)["usage"]["input_tokens"]
    assert target.answer(RESPONSES, instructions="be short")["usage"]["input_tokens"] > plain


@pytest.mark.parametrize(
    "earlier",
    [
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "a", "annotations": []}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "developer", "content": "a"},
    ],
)  # fmt: skip
def test_an_earlier_turn_is_read_in_every_form(target: Target, earlier):
    message = {"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}
    assert target.answer(RESPONSES, input=[message, earlier, message])["usage"]["output_tokens"] == 6


def test_a_responses_schema_is_kept_to(target: Target):
    schema = {"enum": ["one", 2]}
    form = {"format": {"type": "json_schema", "name": "a", "schema": schema}}
    response = target.answer(RESPONSES, text=form, max_output_tokens=60)
    assert json.loads(output_text(response)) in schema["enum"]


def test_a_responses_logprobs_come_where_they_are_included(target: Target):
    response = target.answer(RESPONSES, include=["message.output_text.logprobs"], top_logprobs=2)
    tokens = response["output"][0]["content"][0]["logprobs"]
    assert len(tokens) == 6
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)


@pytest.mark.parametrize(
    "fields",
    [
        {"include": ["message.output_text.logprobs"], "top_logprobs": 50},
        {
            "text": {
                "format": {"type": "json_schema", "name": "a", "schema": {"type": "string", "pattern": "[a-"}}
            }
        },
        {"structured_outputs": {"regex": "[a-"}},
        {"temperature": -1},
        {"input": LONG},
    ],
)
def test_a_response_that_cannot_be_made_is_refused_whether_it_streams_or_not(target: Target, fields):
    assert target.refusal(RESPONSES, **fields)["message"]


def test_an_unknown_earlier_response_is_not_found(target: Target):
    assert target.post(RESPONSES, previous_response_id="resp_none").status_code == 404


def test_the_official_client_puts_a_response_together(target: Target):
    with target.openai().responses.stream(model=target.model, input=PROMPT, max_output_tokens=300) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds.count("response.output_text.delta") > 1
    assert final.output_text


# Messages


def test_a_message_has_its_shape(target: Target):
    message = target.answer(ANTHROPIC)
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", target.model)
    assert message["content"][0]["type"] == "text"
    assert message["stop_reason"] == "max_tokens"
    assert message["usage"]["output_tokens"] == 6


def test_a_messages_events_come_in_their_order(target: Target):
    names = [name for name, _ in target.events(ANTHROPIC) if name != "ping"]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[2:-3]) == {"content_block_delta"}


def test_a_message_stops_at_a_sequence_and_names_it(target: Target):
    message = target.answer(ANTHROPIC, stop_sequences=["\n"], seed=7, max_tokens=100)
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "\n")


def test_a_system_prompt_counts(target: Target):
    plain = target.answer(ANTHROPIC)["usage"]["input_tokens"]
    for system in ("be short", [{"type": "text", "text": "be short"}]):
        assert target.answer(ANTHROPIC, system=system)["usage"]["input_tokens"] > plain


def test_tokens_are_counted_as_they_are_used(target: Target):
    counted = target.answer("/v1/messages/count_tokens", messages=MESSAGES)["input_tokens"]
    assert counted == target.answer(ANTHROPIC)["usage"]["input_tokens"]


@pytest.mark.parametrize(
    "fields",
    [
        {
            "output_config": {
                "format": {"type": "json_schema", "schema": {"type": "string", "pattern": "[a-"}}
            }
        },
        {"temperature": -1},
        {"stop_sequences": [""]},
        {"max_tokens": 0},
        {"messages": [{"role": "user", "content": LONG}]},
    ],
)
def test_a_message_that_cannot_be_made_is_refused_whether_it_streams_or_not(target: Target, fields):
    assert target.refusal(ANTHROPIC, **fields)["message"]


def test_the_official_client_puts_a_message_together(target: Target):
    with target.anthropic().messages.stream(model=target.model, max_tokens=20, messages=MESSAGES) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert final.content[0].text == "".join(pieces)
    with pytest.raises(anthropic.NotFoundError):
        target.anthropic().messages.create(model="none", max_tokens=4, messages=MESSAGES)


# Models and errors


def test_the_models_are_listed(target: Target):
    models = target.openai().models.list().data
    assert target.model in [model.id for model in models]
    assert all(model.object == "model" and model.max_model_len == 512 for model in models)


@pytest.mark.parametrize("path", ASKED)
def test_a_model_that_is_not_served_is_not_found(target: Target, path):
    for stream in (False, True):
        response = target.post(path, model="none", stream=stream)
        assert response.status_code == 404
        assert "none" in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"null", b'"text"'])
def test_a_body_that_is_no_object_is_refused(target: Target, path, body):
    response = target.http.post(
        target.root + path, content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"messages": None}),
        (CHAT, {"messages": "hello"}),
        (CHAT, {"messages": [{"content": "no role"}]}),
        (CHAT, {"max_tokens": "many"}),
        (CHAT, {"temperature": "warm"}),
        (COMPLETIONS, {"prompt": {"a": 1}}),
        (COMPLETIONS, {"max_tokens": 1.5}),
        (RESPONSES, {"input": 3}),
        (RESPONSES, {"input": [{"type": "message"}]}),
        (ANTHROPIC, {"messages": "hello"}),
        (ANTHROPIC, {"max_tokens": None}),
    ],
)
def test_a_field_of_a_wrong_type_is_refused(target: Target, path, fields):
    assert target.refusal(path, **fields)["message"]


@pytest.mark.parametrize("path", ASKED)
def test_a_prompt_that_is_too_long_is_refused(target: Target, path):
    own = {COMPLETIONS: {"prompt": LONG}, RESPONSES: {"input": LONG}}.get(
        path, {"messages": [{"role": "user", "content": LONG}]}
    )
    assert "512" in target.refusal(path, **own)["message"]


def test_a_prompt_that_fills_the_model_is_refused(target: Target):
    assert target.answer(COMPLETIONS, prompt=[5] * 511)["usage"]["completion_tokens"] == 1
    target.refusal(COMPLETIONS, prompt=[5] * 512)


def test_tokens_beyond_what_is_left_are_cut_to_it(target: Target):
    answer = target.answer(COMPLETIONS, prompt=[5] * 500, max_tokens=100, ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 12


def test_a_wrong_method_is_told(target: Target):
    assert target.http.get(target.root + CHAT).status_code == 405
    assert target.http.get(f"{target.root}/nowhere").status_code == 404


def test_an_error_object_names_message_type_param_and_code(target: Target):
    error = target.refusal(CHAT, logprobs=True, top_logprobs=50)
    assert set(error) == {"message", "type", "param", "code"}
    with pytest.raises(openai.BadRequestError):
        target.openai().completions.create(model=target.model, prompt="a", logprobs=50)
