"""Chat completions as vLLM's own server answers them."""

from __future__ import annotations

import json

import openai
import pytest

from .target import CHAT, FIXED, MESSAGES, Target, ends, texts

pytestmark = pytest.mark.engine

# Without objects: a small model may write white space between their parts for ever.
SCHEMA = {"enum": ["one", 2]}
ARGUMENTS = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": ARGUMENTS}}


def content(answer):
    return answer["choices"][0]["message"]["content"]


def test_an_answer_has_the_shape_of_a_chat_completion(target: Target):
    answer = target.answer(CHAT)
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == target.model
    (choice,) = answer["choices"]
    assert (choice["index"], choice["message"]["role"], choice["finish_reason"]) == (0, "assistant", "length")
    used = answer["usage"]
    assert (used["completion_tokens"], used["total_tokens"]) == (6, used["prompt_tokens"] + 6)


def test_a_stream_says_the_role_first_and_why_it_ended_last(target: Target):
    chunks = target.chunks(CHAT)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert ends(chunks) == {0: "length"}
    assert len(chunks) > 2


def test_a_stream_holds_the_text_of_the_same_request_unstreamed(target: Target):
    fixed = {**FIXED, "max_tokens": 20}
    assert texts(target.chunks(CHAT, **fixed)) == {0: content(target.answer(CHAT, **fixed))}


def test_a_seed_repeats_an_answer(target: Target):
    fixed = {"seed": 5, "temperature": 1.2, "max_tokens": 12}
    first, second = (content(target.answer(CHAT, **fixed)) for _ in range(2))
    assert first == second
    assert texts(target.chunks(CHAT, **fixed)) == {0: first}


@pytest.mark.parametrize("seed", [0, 2**63 - 1, -(2**63)])
def test_a_seed_may_be_any_of_64_bits(target: Target, seed):
    target.answer(CHAT, seed=seed)


def test_a_seed_beyond_64_bits_is_refused(target: Target):
    target.refusal(CHAT, seed=2**64 + 1)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_tokens_are_bounded_under_either_name(target: Target, name):
    answer = target.answer(CHAT, **{"max_tokens": None, name: 3})
    assert answer["usage"]["completion_tokens"] == 3


def test_several_choices_are_numbered(target: Target):
    answer = target.answer(CHAT, n=3, temperature=1.0)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 18


def test_several_streamed_choices_come_side_by_side(target: Target):
    chunks = target.chunks(CHAT, n=2, temperature=1.0, max_tokens=40, ignore_eos=True)
    assert ends(chunks) == {0: "length", 1: "length"}
    order = [chunk["choices"][0]["index"] for chunk in chunks if chunk["choices"]]
    assert order != sorted(order)
    assert all(texts(chunks).values())


def test_logprobs_come_with_their_alternatives(target: Target):
    answer = target.answer(CHAT, logprobs=True, top_logprobs=3)
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert len(tokens) == 6
    assert all(len(token["top_logprobs"]) == 3 and token["logprob"] <= 0 for token in tokens)
    assert all(bytes(token["bytes"]).decode(errors="replace") is not None for token in tokens)


def test_logprobs_of_no_alternatives_name_the_token_alone(target: Target):
    for extra in ({"top_logprobs": 0}, {}):
        tokens = target.answer(CHAT, logprobs=True, **extra)["choices"][0]["logprobs"]["content"]
        assert all(not token["top_logprobs"] for token in tokens)


def test_logprobs_are_streamed_with_their_tokens(target: Target):
    chunks = target.chunks(CHAT, logprobs=True, top_logprobs=2)
    tokens = [
        token
        for chunk in chunks
        for choice in chunk["choices"]
        if choice.get("logprobs")
        for token in choice["logprobs"]["content"]
    ]
    assert len(tokens) == 6
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)


def test_logprobs_are_none_where_they_are_not_asked_for(target: Target):
    assert target.answer(CHAT)["choices"][0].get("logprobs") is None
    assert target.answer(CHAT, logprobs=False)["choices"][0].get("logprobs") is None


def test_more_alternatives_than_the_engine_gives_are_refused(target: Target):
    error = target.refusal(CHAT, logprobs=True, top_logprobs=50)
    assert "50" in error["message"]
    assert error["param"] == "logprobs"


def test_alternatives_without_logprobs_are_refused(target: Target):
    assert "logprobs" in target.refusal(CHAT, top_logprobs=2)["message"]


def test_usage_comes_once_and_last_where_it_is_asked_for(target: Target):
    chunks = target.chunks(CHAT, stream_options={"include_usage": True})
    assert not any(chunk.get("usage") for chunk in chunks[:-1])
    last = chunks[-1]
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 6)


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"continuous_usage_stats": True}])
def test_usage_comes_never_where_it_is_not_asked_for(target: Target, options):
    chunks = target.chunks(CHAT, stream_options=options)
    assert not any(chunk.get("usage") for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks)


def test_continuous_usage_counts_up_in_every_event(target: Target):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = target.chunks(CHAT, stream_options=options)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 6)


@pytest.mark.parametrize("stream", [{}, {"stream": False}])
def test_options_of_a_stream_without_a_stream_are_refused(target: Target, stream):
    response = target.post(CHAT, stream_options={"include_usage": True}, **stream)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "stream_options"


@pytest.mark.parametrize("stop", ["\n", ["\n", "never written"]])
def test_a_stop_string_ends_an_answer_and_is_not_in_it(target: Target, stop):
    answer = target.answer(CHAT, stop=stop, max_tokens=200, **FIXED)
    choice = answer["choices"][0]
    assert "\n" not in choice["message"]["content"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", "\n")


def test_a_stop_string_is_in_the_answer_where_it_is_asked_for(target: Target):
    answer = target.answer(CHAT, stop="\n", max_tokens=200, **FIXED, include_stop_str_in_output=True)
    assert content(answer).endswith("\n")


def test_an_empty_stop_string_is_refused(target: Target):
    assert "stop" in target.refusal(CHAT, stop=[""])["message"]


def test_at_least_so_many_tokens_are_written(target: Target):
    answer = target.answer(CHAT, min_tokens=30, max_tokens=30, **FIXED)
    assert answer["usage"]["completion_tokens"] == 30


def test_a_json_object_is_written(target: Target):
    answer = target.answer(CHAT, response_format={"type": "json_object"}, max_tokens=20, ignore_eos=False)
    assert content(answer).lstrip().startswith("{")


def test_a_json_schema_is_kept_to(target: Target):
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    answer = target.answer(CHAT, response_format=form, max_tokens=60, ignore_eos=False)
    assert json.loads(content(answer)) in SCHEMA["enum"]


@pytest.mark.parametrize(
    ("structure", "fits"),
    [
        ({"choice": ["alpha", "beta"]}, lambda text: text in {"alpha", "beta"}),
        ({"regex": "[ab]{3}"}, lambda text: len(text) == 3 and set(text) <= set("ab")),
        ({"grammar": 'root ::= "x" | "yy"'}, lambda text: text in {"x", "yy"}),
        ({"json": SCHEMA}, lambda text: json.loads(text) in SCHEMA["enum"]),
    ],
)
def test_structured_outputs_are_kept_to_whole_and_streamed(target: Target, structure, fits):
    body = {"structured_outputs": structure, "max_tokens": 60, "ignore_eos": False}
    assert fits(content(target.answer(CHAT, **body)))
    assert fits(texts(target.chunks(CHAT, **body))[0])


@pytest.mark.parametrize(
    "structure",
    [{"regex": "[a-"}, {"choice": []}, {"grammar": "nothing"}, {"json": {"type": "odd"}}, {"json": ""}],
)
def test_a_structure_that_cannot_be_used_is_refused(target: Target, structure):
    target.refusal(CHAT, structured_outputs=structure)


def test_two_structures_at_once_are_refused(target: Target):
    target.refusal(CHAT, structured_outputs={"regex": "a", "choice": ["a"]})


def test_a_format_of_an_unknown_type_is_refused(target: Target):
    target.refusal(CHAT, response_format={"type": "odd"})


def test_a_call_that_no_parser_reads_is_refused(target: Target):
    for choice in ({"type": "function", "function": {"name": "add"}}, "required", "auto"):
        assert "parser" in target.refusal(CHAT, tools=[TOOL], tool_choice=choice)["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": {"type": "function", "function": {"name": "add"}}},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
        {"tools": [TOOL], "tool_choice": {}},
        {"tools": [{"type": "function"}]},
        {"tools": [TOOL], "tool_choice": "odd"},
        {"tool_choice": "required"},
    ],
)
def test_a_choice_of_tools_that_does_not_fit_them_is_refused(target: Target, fields):
    target.refusal(CHAT, **fields)


def test_tools_that_may_not_be_called_are_allowed(target: Target):
    assert content(target.answer(CHAT, tools=[TOOL], tool_choice="none"))


def test_no_tools_are_none(target: Target):
    for fields in (
        {"tools": None},
        {"tools": None, "tool_choice": None},
        {"tools": [], "tool_choice": "auto"},
    ):
        assert content(target.answer(CHAT, **fields))


def test_messages_of_every_role_and_form_are_read(target: Target):
    messages = [
        {"role": "system", "content": "short"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "name": "me"},
        {"role": "user", "content": "d"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "user", "content": "e"},
    ]
    assert content(target.answer(CHAT, messages=messages))


def test_an_answer_may_be_sent_back_as_the_client_holds_it(target: Target):
    client = target.openai()
    first = client.chat.completions.create(model=target.model, messages=MESSAGES, max_tokens=4)
    messages = [*MESSAGES, first.choices[0].message.model_dump(), *MESSAGES]
    assert target.answer(CHAT, messages=messages)["usage"]["prompt_tokens"] > first.usage.prompt_tokens


def test_an_unfinished_answer_is_continued(target: Target):
    messages = [*MESSAGES, {"role": "assistant", "content": "n = "}]
    answer = target.answer(CHAT, messages=messages, add_generation_prompt=False, continue_final_message=True)
    assert answer["usage"]["completion_tokens"] == 6


def test_the_prompts_last_message_is_echoed(target: Target):
    messages = [*MESSAGES, {"role": "assistant", "content": "n = "}]
    body = {
        "messages": messages,
        "add_generation_prompt": False,
        "continue_final_message": True,
        "echo": True,
    }
    assert content(target.answer(CHAT, **body)).startswith("n = ")
    assert texts(target.chunks(CHAT, **body))[0].startswith("n = ")


def test_token_ids_come_where_they_are_asked_for(target: Target):
    answer = target.answer(CHAT, return_token_ids=True)
    assert len(answer["choices"][0]["token_ids"]) == 6
    assert len(answer["prompt_token_ids"]) == answer["usage"]["prompt_tokens"]
    chunks = target.chunks(CHAT, return_token_ids=True)
    assert len([token_id for chunk in chunks for token_id in chunk["choices"][0].get("token_ids") or []]) == 6


def test_fields_that_nobody_knows_are_allowed(target: Target):
    target.answer(CHAT, extra_field="0")


def test_the_official_client_streams(target: Target):
    stream = target.openai().chat.completions.create(
        model=target.model,
        messages=MESSAGES,
        max_tokens=6,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[-1].usage.completion_tokens == 6
    assert chunks[-2].choices[0].finish_reason == "length"


def test_the_official_client_raises_bad_requests(target: Target):
    with pytest.raises(openai.BadRequestError) as raised:
        target.openai().chat.completions.create(
            model=target.model, messages=MESSAGES, logprobs=True, top_logprobs=50, stream=True
        )
    assert raised.value.param == "logprobs"
