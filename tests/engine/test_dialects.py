"""Every dialect through its official client, against real engines."""

from __future__ import annotations

import anthropic
import httpx
import openai
import pytest

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def claude(server) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.root, api_key="none", max_retries=0, timeout=120)


@pytest.fixture
def own(problems, sampling):
    """The prompt of a problem, and its tests with a budget."""
    body = sampling(68, controls={"budget": 16})
    return body["messages"][0]["content"], {"alpharay": body["alpharay"]}


def test_completions_whole_streamed_pinned_and_judged(server, own):
    prompt, controls = own
    client = server.client()
    arguments = {"model": "frontier", "prompt": prompt, "max_tokens": 60}
    whole = client.completions.create(n=2, seed=1, **arguments)
    assert [choice.index for choice in whole.choices] == [0, 1]
    again = client.completions.create(n=2, seed=1, **arguments)
    assert [choice.text for choice in whole.choices] == [choice.text for choice in again.choices]
    judged = client.completions.create(**arguments, extra_body=controls)
    assert judged.choices[0].model_extra["alpharay"]["verdict"]
    assert judged.model_extra["alpharay"]["judge"] == "ok"
    chunks = list(client.completions.create(stream=True, **{**arguments, "model": "frontier@1"}))
    # What a busy machine makes late comes together.
    assert sum(bool(chunk.choices[0].text) for chunk in chunks) > 1
    assert chunks[-1].model_extra["alpharay"]["drawn"] == 1
    several = client.completions.create(**{**arguments, "prompt": [prompt, prompt]})
    assert len(several.choices) == 2


def test_responses_whole_and_streamed(server, own):
    prompt, controls = own
    client = server.client()
    arguments = {"model": "frontier", "input": prompt, "max_output_tokens": 300, "store": False}
    judged = client.responses.create(**arguments, extra_body=controls)
    assert judged.model_extra["alpharay"]["verdict"]
    assert judged.output_text
    for model in ("frontier", "frontier@1"):
        with client.responses.stream(**{**arguments, "model": model}) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        assert kinds[0] == "response.created"
        assert kinds.count("response.output_text.delta") > 5
        assert kinds[-1] == f"response.{final.status}"
        assert final.output_text
        assert final.model == model
    with client.responses.stream(**arguments, extra_body=controls) as stream:
        final = stream.get_final_response()
    assert final.model_extra["alpharay"]["stopped"] in {"passes", "budget"}
    assert final.output_text


def test_messages_whole_and_streamed(claude, own):
    prompt, controls = own
    arguments = {
        "model": "frontier",
        "max_tokens": 80,
        "messages": [{"role": "user", "content": prompt}],
    }
    judged = claude.messages.create(**arguments, extra_body=controls)
    assert judged.model_extra["alpharay"]["verdict"]
    assert judged.content[0].text
    assert judged.usage.output_tokens > 0
    for model in ("frontier", "frontier@1"):
        with claude.messages.stream(**{**arguments, "model": model}) as stream:
            pieces = list(stream.text_stream)
            final = stream.get_final_message()
        assert len(pieces) > 1
        assert final.content[0].text == "".join(pieces)
        assert final.model == model
        assert final.stop_reason in {"end_turn", "max_tokens"}
    with claude.messages.stream(**arguments, extra_body=controls) as stream:
        assert stream.get_final_message().content[-1].text
    counted = claude.messages.count_tokens(model="frontier", messages=arguments["messages"])
    assert counted.input_tokens == judged.usage.input_tokens


def test_a_seed_means_the_same_candidate_in_messages_too(claude, own):
    arguments = {"model": "frontier@1.5", "max_tokens": 60, "messages": [{"role": "user", "content": own[0]}]}

    def text(seed: int) -> str:
        return (
            claude.messages.create(**arguments, extra_body={"seed": seed, "temperature": 1.5}).content[0].text
        )

    assert text(5) == text(5)
    assert len({text(seed) for seed in range(5)}) > 1


def test_what_agents_send_besides_is_tolerated(server, claude):
    answer = server.client().responses.create(
        model="frontier@1",
        instructions="short",
        max_output_tokens=5,
        input=[
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be brief"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "sum"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        ],
        reasoning={"effort": "high", "summary": "auto"},
        include=["reasoning.encrypted_content"],
        parallel_tool_calls=False,
        prompt_cache_key="session",
        tools=[{"type": "web_search"}],
        extra_body={"client_metadata": {"a": "b"}},
    )
    assert answer.status in {"completed", "incomplete"}
    assert answer.model_extra["alpharay"]["left_out"] == ["tools: web_search"]
    message = claude.beta.messages.create(
        model="frontier@1",
        max_tokens=20,
        system=[{"type": "text", "text": "short", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "sum", "cache_control": {"type": "ephemeral"}}],
            }
        ],
        thinking={"type": "adaptive"},
        betas=["context-management-2025-06-27"],
        context_management={"edits": [{"type": "clear_thinking_20251015"}]},
        metadata={"user_id": "u"},
    )
    assert message.role == "assistant"


def test_a_model_without_a_tool_parser_says_how_to_give_it_one(server, claude):
    with pytest.raises(openai.BadRequestError, match="tool_call_parser"):
        server.client().chat.completions.create(
            model="frontier",
            messages=[{"role": "user", "content": "x"}],
            tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
        )
    with pytest.raises(anthropic.BadRequestError, match="tool_call_parser"):
        claude.messages.create(
            model="frontier",
            max_tokens=5,
            messages=[{"role": "user", "content": "x"}],
            tools=[{"name": "f", "input_schema": {"type": "object"}}],
        )


def test_tools_go_through_to_the_engine_where_the_model_is_told_not_to_call_them(server):
    answer = server.client().chat.completions.create(
        model="frontier",
        max_tokens=20,
        messages=[{"role": "user", "content": "sum"}],
        tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
        tool_choice="none",
    )
    assert answer.choices[0].finish_reason in {"stop", "length"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("completions", {"prompt": {"a": 1}}),
        ("completions", {"prompt": "x", "max_tokens": "many"}),
        ("completions", {"prompt": "x", "suffix": "y"}),
        ("completions", {}),
        ("responses", {"input": 3}),
        ("responses", {"input": []}),
        ("responses", {}),
        ("messages", {"messages": "x", "max_tokens": 3}),
        ("messages", {"messages": [{"role": "user", "content": "x"}]}),
        ("messages", {"messages": [{"role": "nobody", "content": "x"}], "max_tokens": 3}),
        ("messages/count_tokens", {"messages": 3}),
        ("chat/completions", {"messages": []}),
    ],
)
@pytest.mark.parametrize("model", ["frontier", "frontier@1"])
def test_what_vllm_cannot_read_is_a_400_in_the_dialects_own_error(server, path, body, model):
    answer = httpx.post(f"{server.url}/{path}", json={"model": model, **body}, timeout=60)
    assert answer.status_code == 400, answer.text
    error = answer.json()
    assert error["error"]["message"]
    assert (error.get("type") == "error") == path.startswith("messages")
