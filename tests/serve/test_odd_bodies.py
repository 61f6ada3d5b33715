"""No body is too odd: each dialect reads it, or refuses it with a 400 of its own."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpharay.serve.dialects import chat, completions, messages, responses
from alpharay.serve.errors import RequestError
from alpharay.serve.sampling.tool_turns import ranked

DIALECTS = [chat, completions, responses, messages]
WORDS = st.sampled_from(
    ["auto", "none", "required", "function", "custom", "namespace", "text", "message", "reasoning", "user",
     "assistant", "thinking", "tool", "document", "enabled", "high", "web_search", "f", ""]
)  # fmt: skip
SMALL = st.none() | st.booleans() | st.integers(-2, 3) | st.just(1.5) | WORDS
NAMES = st.sampled_from(
    ["type", "role", "content", "name", "tools", "function", "parameters", "format", "source", "effort", "id"]
)
VALUES = st.recursive(
    SMALL,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["model", "messages", "prompt", "input", "system", "tools", "tool_choice", "include", "reasoning", "thinking",
     "output_config", "service_tier", "stream", "stream_options", "n", "seed", "best_of", "temperature", "metadata",
     "prompt_cache_key", "vllm_xargs", "suffix", "max_tokens", "structured_outputs"]
)  # fmt: skip
BODIES = st.dictionaries(FIELDS, VALUES, max_size=8)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.NAME)
@given(BODIES)
@settings(max_examples=100, deadline=None)
def test_any_body_is_read_or_refused(dialect, body):
    try:
        request = dialect.read(body)
    except RequestError as error:
        if error.status == 400:
            return
        raise
    sent = json.loads(dialect.engine_body(request, "m", seed=3, draw=True, request_id="r").whole())
    assert sent["model"] == "m"
    assert not sent["stream"]
    assert ranked([], dialect.calls, dialect.offered(request)) == []
