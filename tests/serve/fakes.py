"""Stand-ins behind the seams of serve/transport/clients.py, and a client that can leave in the middle of an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import httpx

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.serve.config import Config
from alpharay.serve.dialects import chat, openai
from alpharay.serve.gateway.app import build_app
from alpharay.serve.gateway.server import Server
from alpharay.serve.state.cluster_state import ClusterState, MemberReport, Phase
from alpharay.serve.state.members import ServedMember, member_name
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.channel import ChannelServer
from alpharay.serve.transport.clients import JudgeUnavailable, SampleLost

from .engine_answers import ANSWERS, STREAMS

ALPHAS = (-0.5, 0.0, 0.5, 1.0, 1.5)
NAMES = tuple(member_name("frontier", alpha) for alpha in ALPHAS)
TESTS = {"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}, {"input": "1 1", "output": "2"}]}
PROMPT_TOKENS, COMPLETION_TOKENS = 7, 3


def completion(member, body):
    """What an engine answers to one chat request: its texts name the member and the seed."""
    texts = [f"{member} {body.get('seed')} {number}" for number in range(body.get("n") or 1)]
    return {
        "id": "chatcmpl-engine",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": member,
        "choices": [
            {
                "index": number,
                "message": {"role": "assistant", "content": text},
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": None,
            }
            for number, text in enumerate(texts)
        ],
        "usage": {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS * len(texts),
            "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS * len(texts),
        },
    }


def refusal(status, message, param=None):
    error = {"message": message, "type": "BadRequestError", "param": param, "code": status}
    return Reply(status, "application/json", json.dumps({"error": error}).encode())


@dataclass
class FakeEngines:
    """Every member's engine. Each call is held in `held` until it ends, however it ends.

    seconds: how long a member takes. faults: what its next calls come to instead, an exception or a Reply.
    dead: members whose every call is lost. is_down: as RayEngines has it. streamed: the bytes of a streamed answer, in the parts it comes in.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    faults: dict[str, list] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    is_down: Callable[[str], bool] = lambda _: False
    streamed: list[bytes] | None = None
    calls: list[tuple[str, dict, dict]] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    cancelled: int = 0
    answer = staticmethod(completion)

    @asynccontextmanager
    async def _call(self, member, body, headers):
        request = json.loads(body.whole())
        self.calls.append((member, request, dict(headers)))
        self.held.append(member)
        try:
            await asyncio.sleep(self.seconds.get(member, 0.01))
            fault = self.faults[member].pop(0) if self.faults.get(member) else None
            if member in self.dead or self.is_down(member):
                fault = SampleLost(f"{member} died")
            if isinstance(fault, Exception):
                raise fault
            yield request, fault
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.held.remove(member)

    async def sample(self, member, path, body, headers):
        answer = self.answer if path == chat.PATH else ANSWERS.get(path)  # else its next fault answers
        async with self._call(member, body, headers) as (request, fault):
            return fault or Reply(200, "application/json", json.dumps(answer(member, request)).encode())

    async def stream(self, member, path, body, headers):
        streamed = self.streamed
        if path != chat.PATH:
            streamed = streamed or STREAMS[path](member, json.loads(body.whole()))
        async with self._call(member, body, headers) as (request, fault):
            if fault:
                yield fault.status, fault.content_type
                yield fault.body
                return
            yield 200, "text/event-stream; charset=utf-8"
            for part in streamed or stream_of(self.answer(member, request), request):
                await asyncio.sleep(0.01)
                if isinstance(part, Exception):
                    raise part
                yield part


def stream_of(whole, request):
    """A streamed answer as vLLM sends it: a role, the text piece by piece, an end, the usage, [DONE]."""
    head = {"id": whole["id"], "object": "chat.completion.chunk", "created": 1, "model": whole["model"]}

    def chunk(index, delta, finish_reason=None):
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return openai.event({**head, "choices": [choice]})

    for choice in whole["choices"]:
        yield chunk(choice["index"], {"role": "assistant", "content": ""})
    for choice in whole["choices"]:
        for letter in choice["message"]["content"]:
            yield chunk(choice["index"], {"content": letter})
        yield chunk(choice["index"], {}, "stop")
    if (request.get("stream_options") or {}).get("include_usage"):
        yield openai.event({**head, "choices": [], "usage": whole["usage"]})
    yield openai.DONE


@dataclass
class FakeJudging:
    """Judges by `verdict(text)`, sees `outputs(text)`, runs as `ran(text)` says. away: it cannot be reached. seconds: how long it takes.

    missing: why no compiled program can be run.
    """

    seconds: float = 0.01
    away: bool = False
    calls: list[tuple] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    cancelled: int = 0

    missing: str = ""

    @staticmethod
    def verdict(_text):
        return VerdictKind.WRONG_ANSWER

    @staticmethod
    def outputs(_text):
        return ()

    @staticmethod
    def ran(_text):
        return Verdict(VerdictKind.ACCEPTED, 1, 1, stdout="42\n")

    async def run(self, program, limits, group):
        await self.judge(None, program, limits, "python", group)
        return self.ran(program)

    async def ready_for(self, _language, _tests):
        if self.missing:
            raise LanguageUnavailable(self.missing)

    async def observe(self, probes, completion, limits, language, group):
        await self.judge(probes, completion, limits, language, group)
        return Verdict(VerdictKind.ACCEPTED, 1, 1, outputs=self.outputs(completion))

    async def judge(self, tests, completion, limits, language, group):
        self.calls.append((tests, completion, limits, language, group))
        self.held.append(completion)
        try:
            await asyncio.sleep(self.seconds)
            if self.away:
                raise JudgeUnavailable("nobody answers")
            kind = self.verdict(completion)
            total = len(tests.cases) if tests is not None else 1
            return Verdict(kind, total if kind is VerdictKind.ACCEPTED else 0, total)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.held.remove(completion)


async def until(condition):
    """Waits until it holds, for a few seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - of what goes on beyond a connection
            await asyncio.sleep(0.001)


class ReplicaHandle:
    """A deployment handle of Ray Serve's whose one replica is `target`, in this process and over a real connection.

    opened: the calls of Ray's, one for each channel.
    """

    def __init__(self, target, *methods):
        self.server = ChannelServer(target, methods)
        self.opened = []
        self.channel = SimpleNamespace(remote=self._open)

    def _open(self, *arguments):
        self.opened.append(asyncio.ensure_future(self.server.serve(*arguments)))
        return self.opened[-1]


class Handle:
    """A Ray handle of an object that lives here: `handle.method.remote(...)`. away: nothing arrives."""

    def __init__(self, actor):
        self.actor = actor
        self.away = False

    def __getattr__(self, method):
        async def remote(*arguments):
            if self.away:
                raise ConnectionError("the actor died")
            return await getattr(self.actor, method)(*arguments)

        return SimpleNamespace(remote=remote)


def config(**sections):
    return Config.model_validate({"endpoints": {"low": "/low", "high": "/high"}, **sections})


def served_members(alphas=ALPHAS):
    return tuple(
        ServedMember(
            name=member_name("frontier", alpha),
            alpha=alpha,
            sha256=f"{number:064x}",
            effective_alpha=alpha,
        )
        for number, alpha in enumerate(alphas)
    )


class Serving:
    """A whole ingress replica with everything behind it faked."""

    def __init__(self, alphas=ALPHAS, cluster_state=None, store=None, beside=(), **sections):
        """beside: served members with names of their own, after those of the alphas."""
        self.members = (*served_members(alphas), *beside)
        self.engines = FakeEngines()
        self.judging = FakeJudging()
        self.cluster_state = cluster_state or ClusterState([member.name for member in self.members])
        self.handle = Handle(self.cluster_state)
        self.server = Server(config(**sections), self.members, self.engines, self.judging, self.handle, store)
        self.app = build_app(self.server)
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://frontier")

    async def all_up(self, instance="first"):
        up = MemberReport(phase=Phase.UP, instance=instance)
        await self.cluster_state.report_members("replica", {member.name: up for member in self.members})
        await self.server.exchange()

    async def chat(self, headers=None, **body):
        return await self.http.post(chat.PATH, json=question(**body), headers=headers)

    async def answer(self, headers=None, **body):
        """The body of an answer that must succeed."""
        response = await self.chat(headers, **body)
        assert response.status_code == 200, response.text
        return response.json()

    async def events(self, **body):
        """The data events of a streamed answer, and its raw text."""
        response = await self.chat(stream=True, **body)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        return data_events(response.text), response.text

    def counted(self, name, **labels):
        """The value of a counter, summed over the labels that are not named."""
        return sum(
            sample.value
            for metric in self.server.counts.registry.collect()
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def nothing_is_held(self):
        """Whether every engine slot, judge run and admission slot is free again."""
        return not (self.engines.held or self.judging.held or self.server.admission.in_flight)

    def finish(self):
        assert self.nothing_is_held(), (self.engines.held, self.judging.held, self.server.admission.in_flight)


def question(**body):
    return {"model": "frontier", "messages": [{"role": "user", "content": "a + b?"}], **body}


def data_events(text):
    """The JSON of every data event; the last must be [DONE]."""
    data = [event.removeprefix("data: ") for event in text.split("\n\n") if event.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(event) for event in data[:-1]]


def rebuilt(events):
    """{choice: its text}, put together again from a stream's deltas."""
    pieces = {}
    for event in events:
        for choice in event.get("choices", []):
            pieces.setdefault(choice["index"], []).append(choice["delta"].get("content") or "")
    return {index: "".join(parts) for index, parts in pieces.items()}


class Call:
    """One request over bare ASGI, watched from outside: it can leave at any moment.

    body: bytes, or chunks of them. Statuses and chunks are there as soon as they are sent.
    """

    def __init__(self, app, body, *, path=chat.PATH, method="POST", headers=None):
        parts = (
            body
            if isinstance(body, list)
            else [body if isinstance(body, bytes) else json.dumps(body).encode()]
        )
        self._inbox = asyncio.Queue()
        for number, part in enumerate(parts, 1):
            self._inbox.put_nowait({"type": "http.request", "body": part, "more_body": number < len(parts)})
        self.sent = []
        self._news = asyncio.Condition()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (n.lower().encode(), v.encode())
                for n, v in {"content-type": "application/json", **(headers or {})}.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("frontier", 80),
        }
        self.task = asyncio.ensure_future(app(scope, self._inbox.get, self._send))

    async def _send(self, message):
        async with self._news:
            self.sent.append(message)
            self._news.notify_all()

    def leave(self):
        self._inbox.put_nowait({"type": "http.disconnect"})

    @property
    def status(self):
        return self.sent[0]["status"] if self.sent else None

    @property
    def text(self):
        return b"".join(message.get("body", b"") for message in self.sent[1:]).decode()

    async def until(self, condition):
        """Waits until `condition(self)` holds of what was sent."""
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(lambda: condition(self)), 60)

    async def end(self):
        await asyncio.wait_for(asyncio.wait({self.task}), 600)
