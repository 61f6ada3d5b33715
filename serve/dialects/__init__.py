"""The thin piece that each HTTP dialect needs around vLLM's own endpoints.

A candidate is one finished response in the caller's own dialect, made by vLLM; nothing is translated.
What remains per dialect: what a request asks for, how its text reads, and how a winner is handed back.
"""

from alpharay.serve.dialects.chat import chat
from alpharay.serve.dialects.completions import completions
from alpharay.serve.dialects.dialect import Dialect
from alpharay.serve.dialects.messages import messages
from alpharay.serve.dialects.responses import responses

__all__ = ["DIALECTS", "Dialect", "chat", "completions", "messages", "responses"]

# The dialects that are served, each under its own name here, which hides the module of that name.
DIALECTS: tuple[Dialect, ...] = (chat, completions, responses, messages)
