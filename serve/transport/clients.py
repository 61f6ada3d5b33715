"""How the ensemble reaches engines and judge: the seams that a test can stand in for.

What crosses them is classified here, once: a lost sample, a judge unreachable, or an answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.limits import Limits
from alpharay.judge.problem import Tests
from alpharay.judge.program import Program
from alpharay.judge.verdict import Verdict
from alpharay.judge.workspace.repo import RepoTests
from alpharay.serve.dialects.api_request import EngineBody
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.channel import Call, Channels
from alpharay.serve.transport.link import Listener
from alpharay.serve.transport.shared_tests import SentTests


class SampleLost(Exception):
    """The engine or its replica died, or could not take the sample; drawing it again may help."""


class EngineFault(SampleLost):
    """A living engine failed on the sample. Where another member's does too, the request is the reason."""


class JudgeUnavailable(Exception):
    """The judge could not be reached: the candidate was neither passed nor failed."""


class Engines(Protocol):
    async def sample(self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]) -> Reply:
        """One whole answer. Raises SampleLost."""
        ...

    def stream(
        self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, str] | bytes]:
        """(status, content type), then the bytes of the answer. Raises SampleLost."""
        ...


class JudgeClient(Protocol):
    async def judge(
        self, tests: Tests, completion: str | Program, limits: Limits, language: str, group: str
    ) -> Verdict:
        """group: whose turn it takes, a request's id. Raises JudgeUnavailable, and LanguageUnavailable."""
        ...

    async def observe(
        self, probes: Tests, completion: str, limits: Limits, language: str, group: str
    ) -> Verdict:
        """As `judge`, but nothing is compared: what the program gave is in the verdict's `outputs`."""
        ...

    async def capture(
        self, program: Program, source: str | RepoTests, limits: Limits, language: str, group: str
    ) -> Verdict:
        """One run of a program on that input, or in that folder; the verdict's `captured` is all that it printed. Raises as `judge`."""
        ...

    async def run(self, program: str, limits: Limits, group: str) -> Verdict:
        """Runs one Python program on empty input; the verdict's `stdout` is the beginning of its output."""
        ...

    async def ready_for(self, language: str, tests: Tests) -> None:
        """Raises JudgeError, saying what is missing, when such programs cannot be run, and JudgeUnavailable."""
        ...


def calls_at_once(replicas: int, *, autoscaled: bool = False) -> int | None:
    """Over one channel. Ray spreads channels over replicas, and where it scales, it counts them as requests."""
    if autoscaled:
        return 1
    return None if replicas == 1 else _AT_ONCE


_AT_ONCE = 16


class RayEngines:
    """Engines behind Ray Serve handles; several members may share one.

    is_down: whether the cluster state knows of no engine of that member that can answer. listener: where answers arrive.
    at_once: calls over one channel (`calls_at_once`).
    """

    def __init__(
        self,
        hosts: Mapping[str, Any],
        is_down: Callable[[str], bool],
        listener: Listener,
        at_once: int | None = None,
    ) -> None:
        channels = {id(host): Channels(host, listener, at_once) for host in hosts.values()}
        self._channels = {member: channels[id(host)] for member, host in hosts.items()}
        self._is_down = is_down

    async def sample(self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]) -> Reply:
        self._check(member)
        try:
            reply: Reply = await self._call(member, "sample", path, body, headers).result()
        except SampleLost:
            raise
        except Exception as error:
            # None of it is the request's fault, since the engine answers a faulty request with a status.
            raise SampleLost(f"{member}: {error}") from error
        if _is_ours(reply.status):
            raise _trouble(member, reply.status)
        return reply

    async def stream(
        self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, str] | bytes]:
        self._check(member)
        try:
            async with aclosing(self._call(member, "stream", path, body, headers).parts()) as parts:
                first = await anext(parts)
                if _is_ours(first[0]):
                    raise _trouble(member, first[0])
                yield first
                async for part in parts:
                    yield part
        except SampleLost:
            raise
        except Exception as error:
            raise SampleLost(f"{member}: {error}") from error

    def _call(
        self, member: str, method: str, path: str, body: EngineBody, headers: Mapping[str, str]
    ) -> Call:
        return self._channels[member].call(
            method, member, path, body, headers, check=partial(self._check, member)
        )

    def _check(self, member: str) -> None:
        if self._is_down(member):
            raise SampleLost(f"{member}: no engine of it can answer now")


class RayJudging:
    """The judge behind its Ray Serve handle. is_down: whether the cluster state knows of no judge."""

    def __init__(
        self, judge: Any, is_down: Callable[[], bool], listener: Listener, at_once: int | None = None
    ) -> None:
        self._channels = Channels(judge, listener, at_once)
        self._is_down = is_down
        self._sent = SentTests()

    async def judge(
        self, tests: Tests, completion: str | Program, limits: Limits, language: str, group: str
    ) -> Verdict:
        return await self._run(tests, completion, limits, language, group, observe=False)

    async def observe(
        self, probes: Tests, completion: str, limits: Limits, language: str, group: str
    ) -> Verdict:
        return await self._run(probes, completion, limits, language, group, observe=True)

    async def capture(
        self, program: Program, source: str | RepoTests, limits: Limits, language: str, group: str
    ) -> Verdict:
        verdict: Verdict = await self._call("capture", program, source, limits, language, group)
        return verdict

    async def run(self, program: str, limits: Limits, group: str) -> Verdict:
        verdict: Verdict = await self._call("run", program, limits, group)
        return verdict

    async def ready_for(self, language: str, tests: Tests) -> None:
        key = self._sent.key(tests)
        if await self._call("ready_for", key, tests, language) is not None:
            self._sent.add(key)

    async def _run(
        self,
        tests: Tests,
        completion: str | Program,
        limits: Limits,
        language: str,
        group: str,
        *,
        observe: bool,
    ) -> Verdict:
        """Large tests travel once, and again to a replica that does not have them."""
        key = self._sent.key(tests)
        for sent in (None, tests) if key in self._sent else (tests,):
            verdict: Verdict | None = await self._call(
                "judge", key, sent, completion, limits, language, group, observe
            )
            if verdict is not None:
                self._sent.add(key)
                return verdict
        raise JudgeUnavailable("the judge forgot the tests that it was just sent")

    async def _call(self, method: str, *arguments: Any) -> Any:
        self._check()
        try:
            return await self._channels.call(method, *arguments, check=self._check).result()
        except (JudgeUnavailable, LanguageUnavailable):
            raise
        except Exception as error:
            raise JudgeUnavailable(str(error)) from error

    def _check(self) -> None:
        if self._is_down():
            raise JudgeUnavailable("no judge can answer now")


def _trouble(member: str, status: int) -> SampleLost:
    kind = EngineFault if status == 500 else SampleLost
    return kind(f"{member}: the engine answered {status}")


def _is_ours(status: int) -> bool:
    """Whether an engine's status is an internal error: then another engine, or a later attempt, may succeed."""
    return status == 429 or (status >= 500 and status != 501)
