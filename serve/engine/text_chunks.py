"""The text chunks of a streamed chat, written by vLLM once and then with each next text in the same place.

Two chunks in the middle of an answer differ in nothing but their text. vLLM builds and validates three models for each,
a third of what the host does for a token.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json

# A chunk that ends so carries text alone: no log-probabilities, token ids, usage or end.
_END = ',"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'


async def text_chunks(
    write: Callable[[AsyncIterator[Any]], AsyncGenerator[str, None]], outputs: AsyncGenerator[Any, None]
) -> AsyncGenerator[str, None]:
    """The events that `write` makes of the outputs, with the same bytes.

    write: vLLM's generator for a request of one choice whose text no parser reads. outputs: what the engine generates,
    each with the text that is new. `write` gets those before the first text chunk and those after the last one.
    """
    feed = _Feed(outputs)
    events = write(feed)
    head = tail = ""
    async with aclosing(outputs):  # which aborts the request in the engine
        async for event in events:
            yield event
            if feed.last is None:
                continue
            text = f'"delta":{{"content":{_quoted(feed.last)}}}{_END}'
            if event.endswith(text):
                head, tail = event.removesuffix(text) + '"delta":{"content":', "}" + _END
                break
        if head:
            async for text in feed.texts():
                yield f"{head}{text}{tail}"
        async for event in events:
            yield event


class _Feed:
    """Outputs on their way to vLLM's generator. last: the output that it got last."""

    def __init__(self, outputs: AsyncIterator[Any]) -> None:
        self.last: Any = None
        self._outputs = outputs
        self._held: Any = None
        self._error: Exception | None = None

    def __aiter__(self) -> _Feed:
        return self

    async def __anext__(self) -> Any:
        if self._error is not None:
            raise self._error
        output, self._held = self._held, None
        self.last = output or await anext(self._outputs)
        return self.last

    async def texts(self) -> AsyncGenerator[str, None]:
        """As JSON, the text of each output before the one that ends the answer or carries more than text.

        That one, or the error in its place, comes next from the feed; it counts the tokens of all.
        """
        tokens: list[int] = []
        try:
            async for output in self._outputs:
                (choice,) = output.outputs
                if choice.finish_reason is not None:
                    choice.token_ids = [*tokens, *choice.token_ids]
                    self._held = output
                    return
                tokens += choice.token_ids
                yield _quoted(output)
        except Exception as error:
            self._error = error


def _quoted(output: Any) -> str:
    """The output's text as pydantic writes it."""
    return to_json(output.outputs[0].text).decode()
