"""Whole answers of vLLM's own serving code, without its HTTP application around each.

A request's samples differ in their seeds. What they share is read and rendered once: for one token of a short chat,
reading the body, rendering the prompt and writing the response are more than half of the host's work.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
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
from vllm.renderers.online_renderer import OnlineRenderer, ResponsesRenderResult

from alpharay.serve.dialects.api_request import EngineBody
from alpharay.serve.transport.asgi import Reply


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """handler: its name in the application's state. dump: how vLLM's route writes the response."""

    handler: str
    method: str
    request: type[BaseModel]
    response: type[BaseModel]
    dump: Mapping[str, Any]


_ENDPOINTS = {
    "/v1/chat/completions": _Endpoint(
        "openai_serving_chat", "create_chat_completion", ChatCompletionRequest, ChatCompletionResponse, {}
    ),
    "/v1/completions": _Endpoint(
        "openai_serving_completion", "create_completion", CompletionRequest, CompletionResponse, {}
    ),
    "/v1/responses": _Endpoint(
        "openai_serving_responses",
        "create_responses",
        ResponsesRequest,
        ResponsesResponse,
        {"mode": "json", "by_alias": True},
    ),
    "/v1/messages": _Endpoint(
        "anthropic_serving_messages",
        "create_messages",
        AnthropicMessagesRequest,
        AnthropicMessagesResponse,
        {"exclude_none": True},
    ),
}


class Samples:
    """state: of vLLM's HTTP application, whose handlers are asked."""

    def __init__(self, state: Any) -> None:
        self._state = state
        self._shared: dict[tuple[str, str], _Shared] = {}  # of samples under way, by path and body
        if type(state.online_renderer) is OnlineRenderer:
            state.online_renderer.__class__ = _Renderer

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
            return None
        finally:
            _SHARED.reset(token)
            shared.users -= 1
            if not shared.users:
                del self._shared[key]


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


_SHARED: ContextVar[_Shared | None] = ContextVar("shared", default=None)


@dataclass(frozen=True, slots=True)
class _Changes:
    """What rendering changed in a request: a parser may ask for a structure, or for special tokens."""

    fields: Mapping[str, Any]
    private: Mapping[str, Any]

    def apply(self, request: Any) -> None:
        for name, value in self.fields.items():
            if getattr(request, name) is not value:
                setattr(request, name, value)
        for name, value in self.private.items():
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
    """A copy as deep as the engine writes into it: each prompt's own fields."""
    if isinstance(result, ResponsesRenderResult):
        return replace(result, messages=list(result.messages), engine_input=copy(result.engine_input))
    if isinstance(result, tuple):
        conversation, prompts = result
        return conversation, [copy(prompt) for prompt in prompts]
    if isinstance(result, list):
        return [copy(prompt) for prompt in result]
    return result  # vLLM's refusal


class _Renderer(OnlineRenderer):  # type: ignore[misc]  # vLLM is not typed for us
    """VLLM's own, once for all samples that share a prompt."""

    async def render_chat(self, request: Any, **options: Any) -> Any:
        render = super().render_chat
        return await _once(lambda: render(request, **options), request)

    async def render_completion(self, request: Any, **options: Any) -> Any:
        render = super().render_completion
        return await _once(lambda: render(request, **options), request)

    async def render_responses(self, request: Any, **options: Any) -> Any:
        render = super().render_responses
        return await _once(lambda: render(request, **options), request)


async def _once(render: Callable[[], Awaitable[Any]], request: Any) -> Any:
    shared = _SHARED.get()
    return await (render() if shared is None else shared.rendered(render, request))


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
