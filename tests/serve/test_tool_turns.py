"""Requests with tools: who answers a conversation, and which of several messages comes back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.serve.dialects.dialect import Call
from alpharay.serve.sampling.tool_turns import fits, form_of
from alpharay.serve.transport.clients import SampleLost

from . import engine_answers
from .fakes import NAMES, TESTS, completion, question
from .test_dialects import REQUESTS

SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "line": {"type": "integer"}},
    "required": ["path"],
    "additionalProperties": False,
}
CHAT_TOOLS = [{"type": "function", "function": {"name": "read", "parameters": SCHEMA}}]
TOOLS = {
    "/v1/chat/completions": CHAT_TOOLS,
    "/v1/responses": [{"type": "function", "name": "read", "parameters": SCHEMA}],
    "/v1/messages": [{"name": "read", "input_schema": SCHEMA}],
}
PATHS = tuple(TOOLS)
GOOD, SAME, OTHER = '{"path": "a", "line": 1}', '{"line":1.0,"path":" a"}', '{"path": "b"}'
BAD = ['{"line": 1}', '{"path": 3}', '{"path": "a", "more": 1}', "{", "[]"]


def request_body(path, **body):
    base = question() if path == "/v1/chat/completions" else {"model": "frontier", **REQUESTS[path]}
    return {**base, "tools": TOOLS[path], **body}


async def post(serving, path, headers=None, **body):
    response = await serving.http.post(path, json=request_body(path, **body), headers=headers)
    assert response.status_code == 200, response.text
    return response


def calling(serving, monkeypatch, arguments, name="read"):
    """Engines whose members call the tool with those arguments; None: they talk instead."""

    def chat(member, body):
        whole = completion(member, body)
        if arguments.get(member) is not None:
            call = {
                "id": member,
                "type": "function",
                "function": {"name": name, "arguments": arguments[member]},
            }
            whole["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
            whole["choices"][0]["finish_reason"] = "tool_calls"
        return whole

    def response(member, body):
        call_arguments = arguments.get(member)
        output = (
            None
            if call_arguments is None
            else [engine_answers.call_item(name, call_arguments) | {"id": member}]
        )
        return engine_answers.response(member, body, output)

    def message(member, body):
        call_arguments = arguments.get(member)
        block = call_arguments and {
            "type": "tool_use",
            "id": member,
            "name": name,
            "input": json.loads(call_arguments),
        }
        return engine_answers.message(member, body, [block] if block else None)

    serving.engines.answer = chat
    monkeypatch.setitem(engine_answers.ANSWERS, "/v1/responses", response)
    monkeypatch.setitem(engine_answers.ANSWERS, "/v1/messages", message)


def called(path, answer):
    """The id of the returned call, which names its member; None for talk."""
    if path == "/v1/chat/completions":
        calls = answer["choices"][0]["message"].get("tool_calls") or []
    else:
        items = answer["output"] if path == "/v1/responses" else answer["content"]
        calls = [item for item in items if item["type"] in {"function_call", "tool_use"}]
    return calls[0]["id"] if calls else None


# One member per conversation


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_with_tools_stays_with_one_member(serving, path, stream):
    for _ in range(4):
        await post(serving, path, stream=stream)
    assert len({member for member, *_ in serving.engines.calls}) == 1
    assert len(serving.engines.calls) == 4


async def test_conversations_are_spread_over_the_members(serving):
    for number in range(40):
        first = {"role": "user", "content": f"task {number}"}
        later = [{"role": "assistant", "content": "x"}, {"role": "user", "content": "go on"}]
        for messages in ([first], [first, *later]):
            await post(serving, "/v1/chat/completions", messages=messages)
    members = [member for member, *_ in serving.engines.calls]
    assert set(members) == set(NAMES)
    assert members[::2] == members[1::2]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_moves_on_when_its_members_engine_is_lost(serving, stream):
    await post(serving, "/v1/chat/completions", stream=stream)
    ((lost, *_),) = serving.engines.calls
    serving.engines.faults = {lost: [SampleLost("it died")]}
    await post(serving, "/v1/chat/completions", stream=stream)
    members = [member for member, *_ in serving.engines.calls]
    assert members[1] == lost != members[2]
    assert serving.counted("alpharay_samples_total", outcome="lost") == 1


async def test_an_answer_of_the_ensemble_bears_its_name(serving):
    response = await post(serving, "/v1/chat/completions", stream=True)
    assert '"model":"frontier"' in response.text
    assert not any(f'"model":"{name}"' in response.text for name in NAMES)
    whole = (await post(serving, "/v1/chat/completions")).json()
    assert whole["model"] == "frontier"
    assert whole["choices"][0]["alpharay"]["member"] in NAMES


async def test_a_plain_stream_of_the_ensemble_arrives_as_it_is_made(serving):
    events, _ = await serving.events()
    text = "".join(c["delta"].get("content") or "" for event in events for c in event["choices"])
    assert len(events) > len(text) > 5
    assert events[-1]["alpharay"]["drawn"] == 1


async def test_a_plain_stream_survives_the_loss_of_every_engine_but_one(serving):
    serving.engines.dead = set(NAMES[:4])
    events, _ = await serving.events()
    assert events[-1]["choices"][0]["alpharay"]["member"] == NAMES[4]


# An agent's side requests


AGENT = {"X-Alpharay-Budget": "5", "User-Agent": "agent/1"}


SESSIONS = [
    ("/v1/chat/completions", {"prompt_cache_key": "s1"}),
    ("/v1/responses", {"prompt_cache_key": "s1"}),
    ("/v1/messages", {"metadata": {"user_id": "s1"}}),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "session"), SESSIONS)
async def test_a_side_request_of_an_agent_does_not_inherit_its_budget(serving, path, session, stream):
    await post(serving, path, AGENT, **session)
    assert len(serving.engines.calls) == 5
    title = await post(serving, path, AGENT, stream=stream, tools=None, **session)
    assert title.status_code == 200
    assert len(serving.engines.calls) == 6
    assert "side request" in title.text
    await post(serving, path, AGENT, tools=None, alpharay={"budget": 3}, **session)
    assert len(serving.engines.calls) == 9


@pytest.mark.parametrize("session", [{}, {"prompt_cache_key": "s2"}])
async def test_the_tools_of_one_client_leave_the_budgets_of_others_with_its_user_agent_alone(
    serving, session
):
    await post(serving, "/v1/chat/completions", AGENT, prompt_cache_key="s1")
    await post(serving, "/v1/chat/completions", AGENT)
    serving.engines.calls.clear()
    assert (await serving.chat(AGENT, **session)).status_code == 200
    assert len(serving.engines.calls) == 5


async def test_who_never_sends_tools_has_the_budget_of_its_headers(serving):
    await post(serving, "/v1/chat/completions", AGENT)
    serving.engines.calls.clear()
    await serving.chat({**AGENT, "User-Agent": "other/1"})
    assert len(serving.engines.calls) == 5


# Several messages


@pytest.mark.parametrize("path", PATHS)
async def test_the_calls_that_most_agree_on_come_back_as_one_member_wrote_them(serving, monkeypatch, path):
    written = dict(zip(NAMES, [OTHER, GOOD, SAME, GOOD, BAD[0]], strict=True))
    calling(serving, monkeypatch, written)
    answer = (await post(serving, path, alpharay={"budget": 5})).json()
    assert called(path, answer) in NAMES[1:4]
    assert answer["alpharay"]["drawn"] == 5


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bad", BAD[:3])
async def test_calls_that_do_not_fit_their_schema_come_last(serving, monkeypatch, path, bad):
    calling(serving, monkeypatch, dict.fromkeys(NAMES[1:], bad) | {NAMES[0]: GOOD})
    answer = (await post(serving, path, alpharay={"budget": 5})).json()
    assert called(path, answer) == NAMES[0]


@pytest.mark.parametrize("path", PATHS)
async def test_a_tool_that_was_not_offered_is_not_called(serving, monkeypatch, path):
    calling(serving, monkeypatch, dict.fromkeys(NAMES[1:], GOOD), name="delete_everything")
    answer = (await post(serving, path, alpharay={"budget": 5})).json()
    assert called(path, answer) is None


async def test_when_most_have_finished_talking_no_call_is_forced(serving, monkeypatch):
    calling(serving, monkeypatch, {NAMES[0]: GOOD})
    answer = (await post(serving, PATHS[0], alpharay={"budget": 5})).json()
    assert called(PATHS[0], answer) is None


async def test_a_streamed_choice_among_calls_carries_the_whole_call(serving, monkeypatch):
    calling(serving, monkeypatch, dict.fromkeys(NAMES, GOOD))
    response = await post(serving, PATHS[0], stream=True, alpharay={"budget": 5})
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    (call,) = [
        call for event in events for c in event["choices"] for call in c["delta"].get("tool_calls", [])
    ]
    assert call["function"] == {"name": "read", "arguments": GOOD}
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_with_tests_the_verdicts_decide_as_ever(serving, monkeypatch):
    calling(serving, monkeypatch, {})
    answer = (await post(serving, PATHS[0], alpharay={"budget": 5, "tests": TESTS})).json()
    assert answer["choices"][0]["alpharay"]["verdict"] == "wrong_answer"


# Forms and schemas


@pytest.mark.parametrize("arguments", BAD)
def test_a_call_that_cannot_be_made_has_no_form(arguments):
    assert form_of([Call("read", arguments)], {"read": SCHEMA}) is None


def test_equal_calls_have_one_form_and_their_order_counts():
    offered = {"read": SCHEMA, "patch": None}
    assert form_of([Call("read", GOOD)], offered) == form_of([Call("read", SAME)], offered)
    assert form_of([Call("patch", "x\n")], offered) == form_of([Call("patch", "x")], offered)
    two = [Call("read", GOOD), Call("read", OTHER)]
    assert form_of(two, offered) != form_of(two[::-1], offered)
    assert form_of([], offered) == ()


@pytest.mark.parametrize(
    ("schema", "fitting", "failing"),
    [
        ({"type": ["string", "null"]}, ["a", None], [1, []]),
        ({"type": "integer"}, [1, 1.0], [1.5, True, "1"]),
        ({"type": "number"}, [1, 1.5], [True, "1"]),
        ({"enum": ["a", 1]}, ["a", 1], ["b", 2]),
        ({"const": 3}, [3], [4]),
        ({"type": "array", "items": {"type": "integer"}}, [[], [1]], [["a"], {}]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ["a", None], [1]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"a": 1}], [{"a": "b"}]),
        ({"$ref": "#/nowhere"}, [1, "a"], []),
        ({"pattern": "(a+)+$"}, ["a" * 50 + "b"], []),
        (True, [1], []),
    ],
)
def test_a_value_fits_its_schema_or_not(schema, fitting, failing):
    assert all(fits(value, schema) for value in fitting)
    assert not any(fits(value, schema) for value in failing)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, JSON)
def test_no_schema_and_no_value_is_too_odd(value, schema):
    assert fits(value, schema) in {True, False}


async def test_a_conversation_finds_its_member_again_at_another_replica(serve):
    members = set()
    for before in range(3):  # what another replica has answered meanwhile
        replica = await serve()
        for _ in range(before):
            await replica.answer()
        body = question(tools=CHAT_TOOLS)
        members.add((await replica.answer(**body))["choices"][0]["alpharay"]["member"])
    assert len(members) == 1
