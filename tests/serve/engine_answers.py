"""What vLLM's own endpoints of the other dialects answer, whole and streamed, as seen of vLLM 0.32."""

import json

from alpharay.serve.dialects.messages import SEED

USED = {"prompt": 7, "completion": 3}


def named(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def plain(**fields):
    return f"data: {json.dumps(fields)}\n\n".encode()


def text_completion(member, body):
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    if prompts and isinstance(prompts[0], int):
        prompts = [prompts]
    texts = [f"{member} {body.get('seed')} {number}" for _ in prompts for number in range(body.get("n") or 1)]
    return {
        "id": "cmpl-engine",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": member,
        "choices": [
            {"index": number, "text": text, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
            for number, text in enumerate(texts)
        ],
        "usage": {
            "prompt_tokens": USED["prompt"],
            "completion_tokens": USED["completion"] * len(texts),
            "total_tokens": USED["prompt"] + USED["completion"] * len(texts),
        },
    }


def text_completion_stream(member, body):
    whole = text_completion(member, body)
    head = {key: whole[key] for key in ("id", "object", "created", "model")}
    for choice in whole["choices"]:
        for letter in choice["text"]:
            piece = {"index": choice["index"], "text": letter, "logprobs": None, "finish_reason": None}
            yield plain(**head, choices=[piece]).replace(b'": ', b'":')
        yield plain(**head, choices=[{**choice, "text": ""}])
    yield plain(**head, choices=[], usage=whole["usage"])
    yield b"data: [DONE]\n\n"


def message_item(text):
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def call_item(name, arguments):
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


def response(member, body, output=None):
    return {
        "id": body.get("request_id", "resp_engine"),
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": member,
        "output": output or [message_item(f"{member} {body.get('seed')}")],
        "parallel_tool_calls": True,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "temperature": 1.0,
        "top_p": 1.0,
        "incomplete_details": None,
        "usage": {
            "input_tokens": USED["prompt"],
            "output_tokens": USED["completion"],
            "total_tokens": USED["prompt"] + USED["completion"],
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def response_stream(member, body):
    whole = response(member, body)
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    text = whole["output"][0]["content"][0]["text"]
    numbered = iter(range(1000))
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    yield named("response.created", sequence_number=next(numbered), response=begun)
    yield named("response.in_progress", sequence_number=next(numbered), response=begun)
    item = message_item(text) | {"content": [], "status": "in_progress"}
    yield named("response.output_item.added", sequence_number=next(numbered), output_index=0, item=item)
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield named("response.content_part.added", sequence_number=next(numbered), **where, part=part)
    for letter in text:
        payload = {"sequence_number": next(numbered), "delta": letter, "logprobs": []}
        yield named("response.output_text.delta", **where, **payload)
    payload = {"sequence_number": next(numbered), "text": text, "logprobs": []}
    yield named("response.output_text.done", **where, **payload)
    part = whole["output"][0]["content"][0]
    yield named("response.content_part.done", sequence_number=next(numbered), **where, part=part)
    yield named(
        "response.output_item.done", sequence_number=next(numbered), output_index=0, item=message_item(text)
    )
    yield named("response.completed", sequence_number=next(numbered), response=whole)


def message(member, body, content=None):
    seed = (body.get("vllm_xargs") or {}).get(SEED)
    return {
        "id": "chatcmpl-engine",
        "type": "message",
        "role": "assistant",
        "model": member,
        "content": content or [{"type": "text", "text": f"{member} {seed}"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": USED["prompt"], "output_tokens": USED["completion"]},
    }


def message_stream(member, body):
    whole = message(member, body)
    text = whole["content"][0]["text"]
    begun = whole | {"content": [], "stop_reason": None, "stop_sequence": None}
    yield named("message_start", message=begun | {"usage": whole["usage"] | {"output_tokens": 0}})
    yield named("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for letter in text:
        yield named("content_block_delta", index=0, delta={"type": "text_delta", "text": letter})
    yield named("content_block_stop", index=0)
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield named("message_delta", delta=end, usage=whole["usage"])
    yield named("message_stop")


def counted(member, body):
    return {"input_tokens": len(body["messages"])}


ANSWERS = {
    "/v1/completions": text_completion,
    "/v1/responses": response,
    "/v1/messages": message,
    "/v1/messages/count_tokens": counted,
}
STREAMS = {
    "/v1/completions": text_completion_stream,
    "/v1/responses": response_stream,
    "/v1/messages": message_stream,
}
