"""Samples of one body share its rendering and nothing else; what vLLM's handler refuses is not answered here."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from alpharay.serve.dialects.api_request import EngineBody, engine_headers

from .fakes import until

pytest.importorskip("vllm")

REST = json.dumps({"messages": [{"role": "user", "content": "a + b?"}], "tools": None})
CHAT = "/v1/chat/completions"


class Handler:
    """A fake of vLLM's chat handler. calls: (request, prompt, headers) of each engine call. renders: number of renderings."""

    def __init__(self):
        self.calls, self.renders, self.refuses = [], 0, False
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def render_chat_request(self, request):
        self.renders += 1
        await self.go_on.wait()
        request.skip_special_tokens = False  # as tool parsers do
        return [], [{"prompt_token_ids": [1, 2], "arrival_time": 0.0}]

    async def create_chat_completion(self, request, raw):
        from vllm.entrypoints.openai.chat_completion.protocol import (
            ChatCompletionResponse,
            ChatCompletionResponseChoice,
            ChatMessage,
        )
        from vllm.entrypoints.serve.engine.protocol import UsageInfo

        _, [prompt] = await self.render_chat_request(request)
        self.calls.append((request, prompt, dict(raw.headers)))
        if self.refuses:
            raise ValueError("no")
        message = ChatMessage(role="assistant", content=f"seed {request.seed}")
        choice = ChatCompletionResponseChoice(index=0, message=message)
        return ChatCompletionResponse(model=request.model, choices=[choice], usage=UsageInfo())


@pytest.fixture
async def served():
    from alpharay.serve.engine.vllm_samples import Samples

    handler = Handler()
    state = SimpleNamespace(openai_serving_chat=handler)
    return Samples(state), handler


def body(seed, rest=REST):
    return EngineBody(rest, {"model": "m", "seed": seed, "n": 1, "stream": False})


async def test_samples_of_one_body_are_rendered_once_and_answered_each_by_its_seed(served):
    samples, handler = served
    replies = await asyncio.gather(
        *(samples.reply(CHAT, body(n), engine_headers(f"r-{n}", n)) for n in range(9))
    )
    texts = [json.loads(reply.body)["choices"][0]["message"]["content"] for reply in replies]
    assert texts == [f"seed {n}" for n in range(9)]
    assert handler.renders == 1
    prompts = [prompt for _, prompt, _ in handler.calls]
    assert len({id(prompt) for prompt in prompts}) == 9
    assert all(prompt["arrival_time"] > 0 for prompt in prompts)
    assert {request.skip_special_tokens for request, _, _ in handler.calls} == {False}
    assert len({request.request_id for request, _, _ in handler.calls}) == 9
    assert handler.calls[8][2] == {"x-request-id": "r-8", "x-vllm-priority": "4"}


async def test_other_bodies_are_rendered_by_themselves(served):
    samples, handler = served
    other = REST.replace("a + b", "a - b")
    await asyncio.gather(samples.reply(CHAT, body(1), {}), samples.reply(CHAT, body(1, other), {}))
    assert handler.renders == 2


async def test_nothing_is_kept_when_all_have_their_answers(served):
    samples, handler = served
    await samples.reply(CHAT, body(1), {})
    await samples.reply(CHAT, body(2), {})
    assert handler.renders == 2


async def test_who_leaves_while_the_prompt_is_rendered_takes_it_from_nobody(served):
    samples, handler = served
    handler.go_on.clear()
    first, second = (asyncio.ensure_future(samples.reply(CHAT, body(n), {})) for n in range(2))
    await until(lambda: handler.renders)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    handler.go_on.set()
    assert json.loads((await second).body)["choices"][0]["message"]["content"] == "seed 1"


async def test_what_the_handler_refuses_and_what_is_no_request_is_not_answered_here(served):
    samples, handler = served
    assert await samples.reply(CHAT, body("no seed"), {}) is None
    handler.refuses = True
    assert await samples.reply(CHAT, body(1), {}) is None
    assert await samples.reply("/tokenize", body(1), {}) is None


async def test_other_renderings_of_a_handler_are_not_shared(served):
    """A handler may probe the chat template with a prompt of its own, before the request's."""
    samples, handler = served
    own = handler.create_chat_completion

    async def with_probe(request, raw):
        probe = request.model_copy(update={"messages": []})
        await Handler.render_chat_request(handler, probe)
        return await own(request, raw)

    handler.create_chat_completion = with_probe
    await samples.reply(CHAT, body(1), {})
    assert handler.renders == 2
