"""A chat's text chunks have the bytes that vLLM writes, whatever the text and wherever the stream ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from alpharay.serve.engine.text_chunks import text_chunks

from .fakes import until

pytest.importorskip("vllm")

ODD = [
    "",
    "a",
    ' "quoted" \\',
    "\n\t\r\b\f\x00\x1f\x7f",
    "é\u2028\U0001f600\u0085",
    "</s>",
    '"},"logprobs":null',
]
PLAIN = {"stream": True}


class Counted:
    """An engine's outputs. consumed: how many the reader took. closed: whether the stream was closed."""

    def __init__(self, outputs):
        self.outputs, self.consumed, self.closed = outputs, 0, False

    async def stream(self):
        try:
            for output in self.outputs:
                self.consumed += 1
                if isinstance(output, BaseException):
                    raise output
                yield output
        finally:
            self.closed = True


def outputs(texts, *, finish="stop", logprobs=False):
    from vllm.logprobs import Logprob
    from vllm.outputs import CompletionOutput, RequestOutput

    made = []
    for number, text in enumerate(texts, 1):
        tokens = [100 + number, 7] if number % 3 == 0 else [100 + number]
        last = number == len(texts)
        choice = CompletionOutput(
            index=0,
            text=text,
            token_ids=tokens,
            cumulative_logprob=None,
            logprobs=[{token: Logprob(-0.5, 1, text)} for token in tokens] if logprobs else None,
            finish_reason=finish if last else None,
            stop_reason=7 if last and finish == "stop" else None,
        )
        made.append(RequestOutput("r", "prompt", [1, 2, 3], None, [choice], last and finish is not None))
    return made


def serving():
    """vLLM's chat handler with what its stream generator reads."""
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat

    handler = OpenAIServingChat.__new__(OpenAIServingChat)
    for name in ("parser_cls", "request_logger"):
        setattr(handler, name, None)
    for name in (
        "enable_force_include_usage", "enable_log_outputs", "enable_prompt_tokens_details",
        "enable_per_request_metrics", "_include_reasoning_tokens_details", "return_tokens_as_token_ids",
    ):  # fmt: skip
        setattr(handler, name, False)
    handler.response_role = "assistant"
    handler.system_fingerprint = "vllm-test"
    return handler


def events(engine, body, through):
    """The events of one stream; through: makes a generator of vLLM's and the engine's outputs."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    message = {"role": "user", "content": "a + b?"}
    request = ChatCompletionRequest.model_validate({"model": "m", "messages": [message], **body})

    def write(source):
        metadata = SimpleNamespace(final_usage_info=None)
        return serving().chat_completion_stream_generator(
            request, source, "chatcmpl-r", "frontier@1", [message], None, metadata
        )

    return through(write, engine.stream())


def own(write, source):
    return write(source)


async def both(made, body, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    ours, bare = Counted(made()), Counted(made())
    chunks = [event async for event in events(ours, body, text_chunks)]
    expected = [event async for event in events(bare, body, own)]
    assert chunks == expected
    assert ours.consumed == bare.consumed
    return chunks


@pytest.mark.parametrize(
    "body",
    [
        PLAIN,
        PLAIN | {"stream_options": {"include_usage": True}},
        PLAIN | {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        PLAIN | {"logprobs": True, "top_logprobs": 0},
        PLAIN | {"return_token_ids": True},
        PLAIN | {"echo": True},
    ],
)
async def test_every_event_is_vllms_own(body, monkeypatch):
    texts = [*ODD, "x", *ODD]
    chunks = await both(lambda: outputs(texts, logprobs="logprobs" in body), body, monkeypatch)
    assert len(chunks) >= len(texts) + 2


@pytest.mark.parametrize("texts", [["a"], ["a", "b"], [""], ["", ""], ["", "", "a"]])
@pytest.mark.parametrize("finish", ["stop", "length", "error"])
async def test_short_streams_end_as_vllms_do(texts, finish, monkeypatch):
    body = PLAIN | {"stream_options": {"include_usage": True}}
    await both(lambda: outputs(texts, finish=finish), body, monkeypatch)


@pytest.mark.parametrize("at", [0, 1, 2, 5])
async def test_an_error_of_the_engine_is_told_as_vllm_tells_it(at, monkeypatch):
    texts = ["a", "b", "c", "d", "e", "f"]
    chunks = await both(lambda: [*outputs(texts)[:at], ValueError("no")], PLAIN, monkeypatch)
    assert "error" in chunks[-2]


async def test_a_stream_that_breaks_off_without_an_end_is_vllms_own(monkeypatch):
    await both(lambda: outputs(["a", "b", "c"], finish=None), PLAIN, monkeypatch)


async def test_each_text_goes_out_before_the_next_is_asked_for():
    engine = Counted(outputs(["a", "b", "c", "d"]))
    stream = events(engine, PLAIN, text_chunks)
    consumed = [engine.consumed async for event in stream if '"content":"' in event and '"role"' not in event]
    assert consumed == [1, 2, 3, 4]


class Endless(Counted):
    """After its outputs it waits for ever."""

    async def stream(self):
        try:
            for output in self.outputs:
                yield output
            self.consumed = len(self.outputs)
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_who_leaves_in_the_middle_closes_the_engines_stream():
    engine = Endless(outputs(["a", "b", "c"], finish=None))

    async def read():
        return [event async for event in events(engine, PLAIN, text_chunks)]

    reading = asyncio.ensure_future(read())
    await until(lambda: engine.consumed)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert engine.closed


@pytest.mark.parametrize("seen", [1, 2, 3])
async def test_who_closes_the_stream_between_two_events_closes_the_engines(seen):
    engine = Endless(outputs(["a", "b", "c"], finish=None))
    stream = events(engine, PLAIN, text_chunks)
    for _ in range(seen):
        await anext(stream)
    await stream.aclose()
    assert engine.closed
