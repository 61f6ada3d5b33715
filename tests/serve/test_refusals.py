"""What the engine or alpharay refuses: the dialect's own error, the same streamed and unstreamed, and before any header."""

import itertools
import json

import pytest

from alpharay.serve.dialects.openai import DONE, event
from alpharay.serve.transport.clients import EngineFault

from . import engine_answers
from .fakes import NAMES, completion, question, refusal, stream_of
from .test_dialects import REQUESTS, events

PINNED = NAMES[4]
PATHS = {"/v1/chat/completions": {"messages": question()["messages"]}, **REQUESTS}
NO = {
    "message": "Requested sample logprobs of 50",
    "type": "BadRequestError",
    "param": "logprobs",
    "code": 400,
}
WORDINGS = [
    "This model's maximum context length is 512 tokens. However, your prompt contains at least 513 input tokens, which exceeds this limit",
    "This model's maximum context length is 512 tokens. However, your prompt contains 9999 characters (more than 9 characters)",
    "The decoder prompt (length 513) is longer than the maximum model length of 512. Make sure",
    "The decoder prompt (length 512) plus the number of requested output tokens (at least 1) is longer than the maximum model length of 512.",
    "Input length (513) exceeds model's maximum context length (512).",
    "The engine prompt length 513 exceeds the max_model_len 512. Please reduce prompt.",
    "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
]


async def post(serving, path, model="frontier", **body):
    return await serving.http.post(path, json={"model": model, **PATHS[path], **body})


def own_stream(path, member=PINNED):
    body = {
        "seed": 3,
        "vllm_xargs": {"alpharay_seed": 3},
        "stream_options": {"include_usage": True},
        **PATHS[path],
    }
    if path == "/v1/chat/completions":
        return list(stream_of(completion(member, body), body))
    return list(engine_answers.STREAMS[path](member, body))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model", ["frontier", PINNED])
async def test_a_refusal_in_the_engines_stream_is_the_answer_it_would_be_unstreamed(serving, path, model):
    serving.engines.faults = {name: [refusal(400, NO["message"], NO["param"])] for name in NAMES}
    whole = await post(serving, path, model)
    serving.engines.faults = {}
    serving.engines.streamed = [event({"error": NO}), DONE]
    streamed = await post(serving, path, model, stream=True)
    assert (streamed.status_code, streamed.json()) == (whole.status_code, whole.json())
    if path == "/v1/responses":  # this stream opens before the engine gets the request
        serving.engines.streamed = [*own_stream(path)[:2], event({"error": NO})]
        again = await post(serving, path, model, stream=True)
        assert (again.status_code, again.json()) == (whole.status_code, whole.json())
        return
    assert serving.counted("alpharay_requests_total", outcome="invalid") == 2
    assert serving.counted("alpharay_samples_total") == 0


@pytest.mark.parametrize("path", PATHS)
async def test_a_refusal_in_the_middle_of_a_stream_keeps_the_engines_message(serving, path):
    serving.engines.streamed = [*own_stream(path)[:3], event({"error": NO}), DONE]
    last = events((await post(serving, path, PINNED, stream=True)).text)[-1][1]
    assert NO["message"] in json.dumps(last)
    assert "server_error" not in json.dumps(last)
    assert serving.counted("alpharay_requests_total", outcome="invalid") == 1
    assert serving.counted("alpharay_samples_total", outcome="lost") == 0


@pytest.mark.parametrize("path", PATHS)
async def test_a_prompt_that_is_too_long_is_told_as_agents_know_it(serve, path):
    serving = await serve(engine={"max_model_len": 512})
    every = itertools.cycle([{}, {"stream": True}, {"stream": True, "alpharay": {"budget": 2}}])
    for wording, options in zip(WORDINGS, every, strict=False):
        serving.engines.faults = {name: [refusal(400, wording, "input")] * 2 for name in NAMES}
        response = await post(serving, path, **options)
        error = response.json()["error"]
        assert response.status_code == 400
        if path == "/v1/messages":
            assert error["message"] == "prompt is too long: 513 tokens > 512 maximum"
        else:
            assert error["code"] == "context_length_exceeded"
            assert "maximum context length" in error["message"]


async def test_a_response_that_fails_late_for_its_length_says_so_by_its_code(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 30.0)
    serving.engines.faults = {name: [refusal(400, WORDINGS[0])] for name in NAMES}
    stream_events = events((await post(serving, "/v1/responses", stream=True, alpharay={"budget": 2})).text)
    assert stream_events[-1][1]["response"]["error"]["code"] == "context_length_exceeded"


async def test_tokens_of_none_are_not_a_prompt_that_is_too_long(serving):
    serving.engines.faults = {name: [refusal(400, WORDINGS[-1])] for name in NAMES}
    response = await post(serving, "/v1/completions", max_tokens=0)
    assert response.json()["error"]["code"] is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "max_tokens"),
        ("/v1/chat/completions", "max_completion_tokens"),
        ("/v1/completions", "max_tokens"),
        ("/v1/responses", "max_output_tokens"),
        ("/v1/messages", "max_tokens"),
    ],
)
async def test_more_tokens_than_the_model_takes_are_cut_to_what_it_takes(serve, path, name):
    serving = await serve(engine={"max_model_len": 512})
    answer = (await post(serving, path, **{name: 32_000})).json()
    ((_, sent, _),) = serving.engines.calls
    assert sent[name] == 512
    assert any(name in entry for entry in answer["alpharay"]["left_out"])


# Structures


REFERENCE = {
    "$ref": "#/$defs/a",
    "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}},
}
DOUBLED = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
ENDLESS = [
    {"$ref": "#"},
    REFERENCE,
    {**REFERENCE, "$ref": "#/$defs/c", "anyOf": [{"$ref": "#/$defs/a"}, {"oneOf": [{"$ref": "#"}]}]},
    {"$ref": "#/$defs/a0", "$defs": {**DOUBLED, "a40": {"$ref": "#"}}},
]
DESCRIBING = [
    {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    {"type": "object", "properties": {"next": {"$ref": "#"}}},
    {"$ref": "#/$defs/a0", "$defs": {**DOUBLED, "a40": {"type": "integer"}}},
    {"$ref": "#/nowhere"},
    {"$ref": "#/$defs/a~1b/1", "$defs": {"a/b": [1, {"type": "null"}]}},
]


def with_schema(schema):
    """(path, fields) of every way in which a schema comes."""
    tool = {"name": "f", "parameters": schema}
    yield "/v1/chat/completions", {"structured_outputs": {"json": schema}}
    yield "/v1/completions", {"structured_outputs": {"json": json.dumps(schema)}}
    yield (
        "/v1/chat/completions",
        {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
    )
    yield "/v1/responses", {"text": {"format": {"type": "json_schema", "name": "a", "schema": schema}}}
    yield "/v1/messages", {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    yield (
        "/v1/chat/completions",
        {"tools": [{"type": "function", "function": tool}], "tool_choice": "required"},
    )
    yield "/v1/responses", {"tools": [{"type": "function", **tool}], "tool_choice": "required"}


@pytest.mark.parametrize("schema", ENDLESS)
async def test_a_schema_that_only_refers_to_itself_is_refused_before_an_engine_sees_it(serving, schema):
    for path, fields in with_schema(schema):
        response = await post(serving, path, **fields)
        assert (response.status_code, serving.engines.calls) == (400, [])
        assert "refers to itself" in response.json()["error"]["message"]


@pytest.mark.parametrize("schema", DESCRIBING)
async def test_a_schema_that_refers_to_itself_and_describes_a_value_is_the_engines_to_judge(serving, schema):
    for path, fields in with_schema(schema):
        assert (await post(serving, path, **fields)).status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model", ["frontier", PINNED])
async def test_a_structure_that_living_engines_fail_on_is_the_requests_fault(serving, path, model):
    field = "output_config" if path == "/v1/messages" else "structured_outputs"
    structure = {"output_config": {"format": {"type": "json_schema"}}, "structured_outputs": {"regex": "x"}}
    several = [{"n": 2, "stream": True}] if "completions" in path else []
    for options in ({}, {"stream": True}, {"alpharay": {"budget": 2}}, *several):
        serving.engines.faults = {name: [EngineFault("it answered 500")] * 9 for name in NAMES}
        response = await post(serving, path, model, **{field: structure[field]}, **options)
        assert response.status_code == 400, response.text
        assert field in response.json()["error"]["message"]
    assert serving.counted("alpharay_samples_total", outcome="lost") == 0
    serving.engines.faults = {name: [EngineFault("it answered 500")] * 9 for name in NAMES}
    assert (await post(serving, path, model)).status_code == 500


# Options of streams, tools of none


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("model", ["frontier", PINNED])
async def test_options_of_a_stream_that_is_not_asked_for_are_refused(serving, path, model):
    for stream in ({}, {"stream": False}, {"stream": None}):
        response = await post(serving, path, model, stream_options={"include_usage": True}, **stream)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "stream_options")
        assert (await post(serving, path, model, stream_options={}, **stream)).status_code == 200
        assert (await post(serving, path, model, stream_options=None, **stream)).status_code == 200


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/v1/completions"])
async def test_no_tools_are_none(serving, path):
    choices = [{}, {"tool_choice": None}]
    choices += [{"tool_choice": word} for word in ("auto", "none")] if path != "/v1/messages" else []
    for tools in ({"tools": []}, {"tools": None}, {}):
        for choice in choices:
            assert (await post(serving, path, **tools, **choice)).status_code == 200
            _, sent, _ = serving.engines.calls[-1]
            assert not sent.get("tools")
            if path == "/v1/chat/completions":
                assert "tools" not in sent
                assert "tool_choice" not in sent


async def test_a_choice_among_tools_of_which_there_are_none_is_the_engines_to_refuse(serving):
    await post(serving, "/v1/chat/completions", tools=[], tool_choice="required")
    ((_, sent, _),) = serving.engines.calls
    assert (sent["tool_choice"], "tools" in sent) == ("required", False)
