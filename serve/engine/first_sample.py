"""The sample that an engine draws before it counts as started.

On a GPU the first request that is seeded, or has top_p, top_k or logprobs, compiles kernels within a step: for longer
than `engine.hang_s`. And an engine whose arithmetic overflows answers as if nothing were wrong.
"""

from __future__ import annotations

import json
import math
from typing import Any

from alpharay.serve.errors import StartFailed
from alpharay.serve.transport import asgi

_PATH = "/v1/completions"
_TOKENS = 2  # the prompt's step, and one of the kind that all others are
# As token ids: a tokenizer that knows none of the words of a text makes an empty prompt of it, which vLLM refuses.
_PROMPT = [5, 6, 7, 8]


async def draw_first_sample(app: Any, member: str, *, logprobs: int = 1) -> None:
    """Draws a few tokens of the member through vLLM's application, as a request would.

    logprobs: of how many other tokens at each position.

    Raises StartFailed: the sample was refused or lost, or its log-probabilities are not numbers.
    """
    body = {
        "model": member,
        "prompt": _PROMPT,
        "max_tokens": _TOKENS,
        "temperature": 1.0,
        "seed": 1,
        "top_p": 0.9,
        "top_k": 20,
        "logprobs": logprobs,
    }
    reply = await asgi.call(app, _PATH, json.dumps(body).encode(), {"content-type": "application/json"})
    text = reply.body.decode(errors="replace")
    if reply.status != 200:
        raise StartFailed(f"{member}: the engine's first sample came to status {reply.status}: {text[:500]}")
    drawn = json.loads(text)["choices"][0]["logprobs"]["token_logprobs"]
    if not drawn or not all(value is not None and math.isfinite(value) for value in drawn):
        raise StartFailed(
            f"{member}: the log-probabilities of the engine's first sample are not numbers ({drawn}): its weights hold NaN, "
            "or overflow in engine.dtype; float16 overflows soonest, try bfloat16 or float32"
        )
