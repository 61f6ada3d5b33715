"""The server that the conformance tests talk to: ours, or a bare vLLM server with one of the checkpoints."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import openai

PROMPT = "Print the sum of two numbers a and b."
MESSAGES = [{"role": "user", "content": PROMPT}]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, ANTHROPIC = "/v1/responses", "/v1/messages"
# The same answer again, from the same member where several could give it.
FIXED = {"temperature": 0, "seed": 7}
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": MESSAGES, "max_tokens": 6, "ignore_eos": True},
    COMPLETIONS: {"prompt": "n = int(input())\n", "max_tokens": 6, "ignore_eos": True},
    RESPONSES: {"input": PROMPT, "max_output_tokens": 6, "temperature": 0},
    ANTHROPIC: {"messages": MESSAGES, "max_tokens": 6, "temperature": 0},
}


@dataclass
class Target:
    """root: without `/v1`. model: the name to ask for."""

    root: str
    model: str
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=120))

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(self.root + path, json={"model": self.model, **ASKED.get(path, {}), **body})

    def answer(self, path: str, **body: Any) -> dict[str, Any]:
        response = self.post(path, **body)
        assert response.status_code == 200, response.text
        return response.json()

    def refusal(self, path: str, **body: Any) -> dict[str, Any]:
        """The error object of a request that must be refused with 400, the same whether it streams or not."""
        errors = []
        for stream in (False, True):
            response = self.post(path, **body, **({"stream": True} if stream else {}))
            assert response.status_code == 400, (
                f"stream={stream}: {response.status_code} {response.text[:300]}"
            )
            errors.append(response.json()["error"])
        assert errors[0]["message"] == errors[1]["message"]
        return errors[0]

    def events(self, path: str, **body: Any) -> list[tuple[str | None, dict[str, Any]]]:
        """(name, data) of each event of a stream, which must end as its dialect says."""
        response = self.post(path, stream=True, **body)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        events: list[tuple[str | None, dict[str, Any]]] = []
        blocks = [block for block in response.text.split("\n\n") if block and not block.startswith(":")]
        for block in blocks:
            lines = dict(line.split(": ", 1) for line in block.split("\n"))
            if lines["data"] != "[DONE]":
                events.append((lines.get("event"), json.loads(lines["data"])))
        assert (blocks[-1] == "data: [DONE]") == (path in {CHAT, COMPLETIONS})
        return events

    def chunks(self, path: str, **body: Any) -> list[dict[str, Any]]:
        return [data for _, data in self.events(path, **body)]

    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.root}/v1", api_key="none", max_retries=0, timeout=120)

    def anthropic(self) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.root, api_key="none", max_retries=0, timeout=120)


def texts(chunks: list[dict[str, Any]]) -> dict[int, str]:
    """{choice: its text} of a stream of chunks."""
    by_choice: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            piece = choice["text"] if "text" in choice else choice["delta"].get("content") or ""
            by_choice[choice["index"]] = by_choice.get(choice["index"], "") + piece
    return by_choice


def ends(chunks: list[dict[str, Any]]) -> dict[int, str]:
    """{choice: why it ended}; no choice ends twice."""
    reasons = [
        (choice["index"], choice["finish_reason"])
        for chunk in chunks
        for choice in chunk["choices"]
        if choice.get("finish_reason")
    ]
    assert len(reasons) == len(dict(reasons))
    return dict(reasons)
