"""How the ensemble reaches engines and judge: the seams that a test can stand in for.

What crosses them is classified here, once: a lost sample, a judge out of reach, or an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from alpharay.judge.limits import Limits
from alpharay.judge.problem import Tests
from alpharay.judge.verdict import Verdict
from alpharay.serve.asgi import Reply


class SampleLost(Exception):
    """The engine or its replica died, or could not take the sample; drawing it again may help."""


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


class Judging(Protocol):
    async def judge(
        self, tests: Tests, completion: str, limits: Limits, language: str, group: str
    ) -> Verdict:
        """group: whose turn it takes, a request's id. Raises JudgeUnavailable."""
        ...


class RayEngines:
    """Engines behind Ray Serve handles; several members may share one."""

    def __init__(self, hosts: Mapping[str, Any]) -> None:
        self._hosts = hosts

    async def sample(self, member: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        response = self._hosts[member].sample.remote(member, path, body, headers)
        try:
            reply: Reply = await response
        except asyncio.CancelledError:
            response.cancel()  # frees the engine's slot, not only this task
            raise
        except Exception as error:
            # Ray wraps whatever happened on the other side; none of it is the request's fault, since
            # the engine answers a faulty request with a status.
            raise SampleLost(f"{member}: {error}") from error
        if _is_ours(reply.status):
            raise SampleLost(f"{member}: the engine answered {reply.status}: {reply.body[:200]!r}")
        return reply

    async def stream(
        self, member: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, str] | bytes]:
        response = self._hosts[member].options(stream=True).stream.remote(member, path, body, headers)
        try:
            async for part in response:
                if isinstance(part, tuple) and _is_ours(part[0]):
                    raise SampleLost(f"{member}: the engine answered {part[0]}")
                yield part
        except (asyncio.CancelledError, GeneratorExit):
            response.cancel()
            raise
        except SampleLost:
            response.cancel()
            raise
        except Exception as error:
            raise SampleLost(f"{member}: {error}") from error


def _is_ours(status: int) -> bool:
    """Whether an engine's status tells of its own trouble, not of the request's."""
    return status >= 500 or status == 429


class RayJudging:
    """The judge behind its Ray Serve handle."""

    def __init__(self, judge: Any) -> None:
        self._judge = judge

    async def judge(
        self, tests: Tests, completion: str, limits: Limits, language: str, group: str
    ) -> Verdict:
        response = self._judge.judge.remote(tests, completion, limits, language, group)
        try:
            verdict: Verdict = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except Exception as error:
            raise JudgeUnavailable(str(error)) from error
        return verdict
