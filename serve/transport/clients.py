"""How the ensemble reaches engines and judge: the seams that a test can stand in for.

What crosses them is classified here, once: a lost sample, a judge unreachable, or an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.limits import Limits
from alpharay.judge.problem import Tests
from alpharay.judge.program import Program
from alpharay.judge.verdict import Verdict
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.shared_tests import SentTests
from alpharay.serve.transport.stream_transport import StreamListener, StreamReceiver


class SampleLost(Exception):
    """The engine or its replica died, or could not take the sample; drawing it again may help."""


class EngineFault(SampleLost):
    """A living engine failed on the sample. Where another member's does too, the request is the reason."""


class JudgeUnavailable(Exception):
    """The judge could not be reached: the candidate was neither passed nor failed."""


class Engines(Protocol):
    async def sample(self, member: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """One whole answer. Raises SampleLost."""
        ...

    def stream(
        self, member: str, path: str, body: bytes, headers: Mapping[str, str]
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
        self, program: Program, given: str, limits: Limits, language: str, group: str
    ) -> Verdict:
        """One run of a program on that input; the verdict's `captured` is all that it printed. Raises as `judge`."""
        ...

    async def run(self, program: str, limits: Limits, group: str) -> Verdict:
        """One Python program on empty input; the verdict's `stdout` is the beginning of what it printed."""
        ...

    async def ready_for(self, language: str, tests: Tests) -> None:
        """Raises JudgeError, saying what is missing, when such programs cannot be run, and JudgeUnavailable."""
        ...


# Ray lets a call to a deployment without a living replica wait until there is one, however long that
# takes. What the cluster state knows ends that wait; this is how often it is asked.
_LOOK_UP_S = 0.5
# How long the last bytes of a stream may be under way after its host has said that it sent them.
_STRAGGLE_S = 10.0


class RayEngines:
    """Engines behind Ray Serve handles; several members may share one.

    is_down: whether the cluster state knows of no engine of that member that can answer. listener: where streams arrive.
    """

    def __init__(
        self, hosts: Mapping[str, Any], is_down: Callable[[str], bool], listener: StreamListener
    ) -> None:
        self._hosts = hosts
        self._is_down = is_down
        self._listener = listener

    async def sample(self, member: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self._check(member)
        response = self._hosts[member].sample.remote(member, path, body, headers)
        try:
            reply: Reply = await _while_up(response, lambda: self._check(member))
        except SampleLost:
            raise
        except Exception as error:
            # Ray wraps whatever happened on the other side; none of it is the request's fault, since
            # the engine answers a faulty request with a status.
            raise SampleLost(f"{member}: {error}") from error
        if _is_ours(reply.status):
            raise _trouble(member, reply.status)
        return reply

    async def stream(
        self, member: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, str] | bytes]:
        self._check(member)
        incoming = self._listener.expect()
        response: Any = None
        ending: asyncio.Task[None] | None = None
        try:
            host = self._hosts[member].options(stream=True)
            response = host.stream.remote(member, path, body, headers, incoming.stream_id)
            first = await _while_up(response, lambda: self._check(member), anext)
            if _is_ours(first[0]):
                raise _trouble(member, first[0])
            yield first
            ending = asyncio.create_task(_watch(response, incoming))
            async for part in incoming.parts():
                yield part
        except SampleLost:
            raise
        except Exception as error:
            raise SampleLost(f"{member}: {error}") from error
        finally:
            incoming.close()
            if ending is not None:
                ending.cancel()
            if response is not None:
                response.cancel()  # does nothing to a stream that has ended

    def _check(self, member: str) -> None:
        if self._is_down(member):
            raise SampleLost(f"{member}: no engine of it can answer now")


class RayJudging:
    """The judge behind its Ray Serve handle. is_down: whether the cluster state knows of no judge."""

    def __init__(self, judge: Any, is_down: Callable[[], bool]) -> None:
        self._judge = judge
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
        self, program: Program, given: str, limits: Limits, language: str, group: str
    ) -> Verdict:
        verdict: Verdict = await self._call(self._judge.capture, program, given, limits, language, group)
        return verdict

    async def run(self, program: str, limits: Limits, group: str) -> Verdict:
        verdict: Verdict = await self._call(self._judge.run, program, limits, group)
        return verdict

    async def ready_for(self, language: str, tests: Tests) -> None:
        key = self._sent.key(tests)
        if await self._call(self._judge.ready_for, key, tests, language) is not None:
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
        for given in (None, tests) if key in self._sent else (tests,):
            found: Verdict | None = await self._call(
                self._judge.judge, key, given, completion, limits, language, group, observe
            )
            if found is not None:
                self._sent.add(key)
                return found
        raise JudgeUnavailable("the judge forgot the tests that it was just sent")

    async def _call(self, method: Any, *arguments: Any) -> Any:
        self._check()
        response = method.remote(*arguments)
        try:
            return await _while_up(response, self._check)
        except (JudgeUnavailable, LanguageUnavailable):
            raise
        except Exception as error:
            raise JudgeUnavailable(str(error)) from error

    def _check(self) -> None:
        if self._is_down():
            raise JudgeUnavailable("no judge can answer now")


async def _watch(response: Any, incoming: StreamReceiver) -> None:
    """Tells a stream whose host failed. The host's call ends after it has sent the last byte, which may still be under way."""
    try:
        async for _ in response:
            pass
        await asyncio.sleep(_STRAGGLE_S)
        error: Exception = ConnectionError("the end of the answer got lost on the way from the engine's host")
    except asyncio.CancelledError:
        # Ours, which nobody waits for any more, or Ray's word for a call that was cancelled over there.
        error = ConnectionError("the engine's host gave the answer up")
    except Exception as failure:
        error = failure
    incoming.fail(error)


async def _while_up(
    response: Any, check: Callable[[], None], wait: Callable[[Any], Any] = lambda response: response
) -> Any:
    """The response's result, unless `check` raises first. Whoever is cancelled here cancels it over there too."""
    waiting = asyncio.ensure_future(_awaited(wait(response)))
    try:
        while not (await asyncio.wait({waiting}, timeout=_LOOK_UP_S))[0]:
            check()
        return waiting.result()
    finally:
        if not waiting.done():
            response.cancel()  # frees the engine's slot or the judge's run, not only this task
            waiting.cancel()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _trouble(member: str, status: int) -> SampleLost:
    kind = EngineFault if status == 500 else SampleLost
    return kind(f"{member}: the engine answered {status}")


def _is_ours(status: int) -> bool:
    """Whether an engine's status tells of its own trouble: then another engine, or a later try, may do."""
    return status == 429 or (status >= 500 and status != 501)
