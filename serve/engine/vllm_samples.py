"""Answers of vLLM's own serving code, without its HTTP application around each.

A request's samples differ in their seeds. What they share is read and rendered once: for one token of a short chat,
reading the body, rendering the prompt and writing the response are more than half of the host's work. The events of a
stream are taken from the handler's generator: through the application each would pass six layers and a queue.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest, AnthropicMessagesResponse
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest, ChatCompletionResponse
from vllm.entrypoints.openai.completion.protocol import CompletionRequest, CompletionResponse
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest, ResponsesResponse
from vllm.renderers.online_renderer import ResponsesRenderResult

from alpharay.serve.dialects.api_request import EngineBody
from alpharay.serve.transport.asgi import Reply

log = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """handler: its name in the application's state. render: its method that renders a request. dump: how vLLM's route
    writes the response. streams: whether the route sends the handler's stream as it is.
    """

    handler: str
    method: str
    render: str
    request: type[BaseModel]
    response: type[BaseModel]
    dump: Mapping[str, Any]
    streams: bool = False


_ENDPOINTS = {
    "/v1/chat/completions": _Endpoint(
        "openai_serving_chat",
        "create_chat_completion",
        "render_chat_request",
        ChatCompletionRequest,
        ChatCompletionResponse,
        {},
        streams=True,
    ),
    "/v1/completions": _Endpoint(
        "openai_serving_completion",
        "create_completion",
        "render_completion_request",
        CompletionRequest,
        CompletionResponse,
        {},
        streams=True,
    ),
    "/v1/responses": _Endpoint(
        "openai_serving_responses",
        "create_responses",
        "_render_resolved_response_inputs",
        ResponsesRequest,
        ResponsesResponse,
        {"mode": "json", "by_alias": True},
    ),
    "/v1/messages": _Endpoint(
        "anthropic_serving_messages",
        "create_messages",
        "render_chat_request",
        AnthropicMessagesRequest,
        AnthropicMessagesResponse,
        {"exclude_none": True},
    ),
}


class Samples:
    """state: of vLLM's HTTP application, whose handlers are asked."""

    def __init__(self, state: Any) -> None:
        self._state = state
        # A keep-alive of vLLM's own is a layer of its application.
        self._streams = not getattr(getattr(state, "args", None), "sse_keep_alive_interval", 0)
        self._shared: dict[tuple[str, str], _Shared] = {}  # of samples under way, by path and body
        for endpoint in _ENDPOINTS.values():
            if (handler := getattr(state, endpoint.handler, None)) is not None:
                _share(handler, endpoint.render)

    async def reply(self, path: str, body: EngineBody, headers: Mapping[str, str]) -> Reply | None:
        """The answer to one sample. None: it is not for here to say, so vLLM's HTTP application is to be asked.

        That is so for every refusal and every failure, whose statuses and texts are the application's.
        """
        endpoint = _ENDPOINTS.get(path)
        handler = getattr(self._state, endpoint.handler, None) if endpoint is not None else None
        if endpoint is None or handler is None:
            return None
        key = path, body.rest
        shared = self._shared.setdefault(key, _Shared())
        shared.users += 1
        token = _SHARED.set(shared)
        try:
            request = shared.request(endpoint.request, body)
            response = await getattr(handler, endpoint.method)(request, _raw(path, headers))
            if not isinstance(response, endpoint.response):
                _raise_if_cancelled()
                return None
            return Reply(200, "application/json", _written(response.model_dump(**endpoint.dump)))
        except Exception:
            _raise_if_cancelled()
            log.debug(
                "a sample's handler failed; the request goes through vLLM's HTTP application", exc_info=True
            )
            return None
        finally:
            _SHARED.reset(token)
            shared.users -= 1
            if not shared.users:
                del self._shared[key]
                shared.leave()

    async def stream(
        self, path: str, body: EngineBody, headers: Mapping[str, str]
    ) -> AsyncGenerator[str, None] | None:
        """The events of a streamed answer. None: as in `reply`, vLLM's HTTP application is to be asked.

        Whoever iterates is to be cancelled while it waits for the next event: that aborts the request in the engine.
        """
        endpoint = _ENDPOINTS.get(path)
        handler = getattr(self._state, endpoint.handler, None) if endpoint is not None else None
        if endpoint is None or handler is None or not (endpoint.streams and self._streams):
            return None
        try:
            request = endpoint.request.model_validate(json.loads(body.whole()))
            events = await getattr(handler, endpoint.method)(request, _raw(path, headers))
        except Exception:
            _raise_if_cancelled()
            log.debug("a stream's handler failed; vLLM's HTTP application answers the request", exc_info=True)
            return None
        _raise_if_cancelled()
        return events if isinstance(events, AsyncGenerator) else None


class _Shared:
    """What the samples of one body share while any of them is under way. users: how many are."""

    def __init__(self) -> None:
        self.users = 0
        self._first: BaseModel | None = None
        self._rendering: asyncio.Future[tuple[Any, _Changes]] | None = None

    def request(self, kind: type[BaseModel], body: EngineBody) -> BaseModel:
        """The body as vLLM's own request. Raises ValueError and others: it is none."""
        if self._first is None:
            self._first = kind.model_validate(json.loads(body.whole()))
            return self._first.model_copy()
        unknown = body.own.keys() - kind.model_fields.keys()
        if unknown:
            raise LookupError(f"{kind.__name__} has no field {', '.join(unknown)}")
        # Ids that vLLM makes up must differ.
        made = {
            name: field.default_factory()  # type: ignore[call-arg]  # none of them reads other fields
            for name, field in kind.model_fields.items()
            if field.default_factory is not None and name not in self._first.model_fields_set
        }
        return self._first.model_copy(update=made | dict(body.own))

    async def rendered(self, render: Callable[[], Awaitable[Any]], request: Any) -> Any:
        """The prompt of all. render: for the first who comes; what it changes in its request, it changes in all."""
        if self._rendering is None:
            self._rendering = asyncio.ensure_future(_with_changes(render, request))
        result, changes = await asyncio.shield(self._rendering)
        changes.apply(request)
        return _own(result)

    def leave(self) -> None:
        """Nobody waits for it any more."""
        if self._rendering is not None and not self._rendering.done():
            self._rendering.cancel()


_SHARED: ContextVar[_Shared | None] = ContextVar("shared", default=None)


@dataclass(frozen=True, slots=True)
class _Changes:
    """What rendering changed in a request: a parser may ask for a structure, or for special tokens."""

    fields: dict[str, Any]
    private: dict[str, Any]

    def apply(self, request: Any) -> None:
        for name, value in (self.fields | self.private).items():
            setattr(request, name, value)


async def _with_changes(render: Callable[[], Awaitable[Any]], request: Any) -> tuple[Any, _Changes]:
    fields, private = dict(request.__dict__), dict(request.__pydantic_private__ or {})
    result = await render()
    return result, _Changes(
        {name: value for name, value in request.__dict__.items() if fields.get(name) is not value},
        {
            name: value
            for name, value in (request.__pydantic_private__ or {}).items()
            if private[name] != value
        },
    )


def _own(result: Any) -> Any:
    """A copy as deep as the engine writes into it, each prompt's own fields, which has come now."""
    if isinstance(result, ResponsesRenderResult):
        return replace(result, messages=list(result.messages), engine_input=_arriving(result.engine_input))
    if isinstance(result, tuple):
        conversation, prompts = result
        return conversation, [_arriving(prompt) for prompt in prompts]
    if isinstance(result, list):
        return [_arriving(prompt) for prompt in result]
    return result  # vLLM's refusal


def _arriving(prompt: Any) -> Any:
    return {**prompt, "arrival_time": time.time()} if "arrival_time" in prompt else copy(prompt)


def _share(handler: Any, method: str) -> None:
    """Has the handler render once what samples share. Its other renderings, such as probes of the template, stay as they are."""
    render = getattr(handler, method)

    async def once(request: Any, *arguments: Any, **options: Any) -> Any:
        shared = _SHARED.get()
        if shared is None:
            return await render(request, *arguments, **options)
        return await shared.rendered(lambda: render(request, *arguments, **options), request)

    setattr(handler, method, once)


def _raw(path: str, headers: Mapping[str, str]) -> Request:
    """The HTTP request that vLLM's handlers look for headers in."""
    return Request(
        {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "state": {},
        }
    )


def _written(response: Any) -> bytes:
    """As Starlette's JSONResponse writes it. Raises ValueError: a number in it is none."""
    return json.dumps(response, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _raise_if_cancelled() -> None:
    """VLLM's handlers answer with an error where they are cancelled."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
