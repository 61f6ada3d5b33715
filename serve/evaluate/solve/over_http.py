"""The engines and the judge of a server that is up, for work that comes from a file."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from alpharay.judge.compare import any_digits
from alpharay.judge.limits import Limits
from alpharay.judge.problem import Tests
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.serve.dialects.api_request import EngineBody
from alpharay.serve.errors import ServeError
from alpharay.serve.spelling import shown
from alpharay.serve.state.members import ServedMember
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.clients import JudgeUnavailable, SampleLost

Json = dict[str, Any]

# What the same request may not be answered with a little later: a queue that is full, a key's limit, a restart.
_PASSES = frozenset({408, 429, 500, 502, 503, 504})
# A long completion on a busy machine; a server that says nothing for longer is taken to be lost.
_PATIENCE_S = 600.0
# A key's limit of requests a minute passes within this; one of samples a day does not.
_LIMIT_PASSES_S = 120.0
_LIMITS = ("time_limit_s", "memory_limit_mb")
# How the judge begins what it says of a case that failed.
_FAILED_CASE = re.compile(r"case (\d+) of \d+: ")


class ServerRefused(ServeError):
    """The server answers, and will not do it."""


class OverHttp:
    """judged: of each problem, by its id, the fields of `/v1/judge` as `judge_fields` reads them.

    url: of the server, with or without `/v1`. key: its API key.
    """

    def __init__(self, url: str, key: str | None, judged: Mapping[str, Json], at_once: int) -> None:
        base = url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._client = httpx.AsyncClient(
                base_url=base,
                headers={**headers, "Content-Type": "application/json"},
                timeout=httpx.Timeout(_PATIENCE_S, connect=10.0, pool=None),
                limits=httpx.Limits(max_connections=2 * at_once, max_keepalive_connections=at_once),
            )
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            raise ServerRefused(f"--server: {shown(url)} is no address: {error}") from None
        self._url = base
        self._judged = judged
        self._checkpoints: Mapping[str, str] = {}

    async def aclose(self) -> None:
        await self._client.aclose()

    async def members(self) -> tuple[ServedMember, ...]:
        """Those that the server has. Raises ServerRefused: it cannot be reached, wants a key, or is none of alpharay's."""
        try:
            answer = await self._client.get("/v1/models")
        except httpx.HTTPError as error:
            raise ServerRefused(f"--server: {self._url} cannot be reached: {error}") from None
        if answer.status_code != HTTPStatus.OK:
            raise ServerRefused(
                f"--server: {self._url}/v1/models answers {answer.status_code}: {shown(answer.text[:300])}; "
                "a server with keys takes one from ALPHARAY_API_KEY"
            )
        try:
            notes = [(each["id"], each["alpharay"]) for each in answer.json()["data"]]
            members = tuple(
                ServedMember(
                    name=name,
                    alpha=note["alpha"],
                    sha256=note["checkpoint"],
                    weights=dict(note.get("weights") or {}),
                )
                for name, note in notes
                if note["kind"] == "member"
            )
        except (ValueError, KeyError, TypeError):
            raise ServerRefused(f"--server: {self._url} is no server of alpharay's") from None
        self._checkpoints = {member.name: member.sha256 for member in members}
        return members

    async def sample(self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]) -> Reply:
        """One whole answer of a member. Raises SampleLost, and ServerRefused: another checkpoint answers by now."""
        try:
            answer = await self._posted(path, body.whole(), headers)
        except httpx.HTTPError as error:
            raise SampleLost(f"{member}: {error or type(error).__name__}") from error
        if answer.status_code in _PASSES:
            raise SampleLost(f"{member}: {answer.status_code} {answer.text[:300]}")
        if answer.status_code == HTTPStatus.OK:
            self._check_checkpoint(member, answer.content)
        return Reply(answer.status_code, answer.headers.get("content-type", ""), answer.content)

    async def judge(
        self,
        tests: Tests,  # noqa: ARG002 - the server reads them itself
        completion: str,
        limits: Limits,  # noqa: ARG002 - as are those that the problem sets; the others are the server's
        language: str,
        group: str,
    ) -> Verdict:
        """group: the problem's id. Raises JudgeUnavailable, and ServerRefused for what the server will not judge."""
        request = {**self._judged[group], "completion": completion, "language": language}
        try:
            answer = await self._posted("/v1/judge", json.dumps(request))
        except httpx.HTTPError as error:
            raise JudgeUnavailable(str(error) or type(error).__name__) from error
        if answer.status_code in _PASSES:
            raise JudgeUnavailable(f"{answer.status_code} {answer.text[:300]}")
        if answer.status_code != HTTPStatus.OK:
            raise ServerRefused(
                f"{self._url}/v1/judge answers {answer.status_code} for the problem {group!r}: {shown(answer.text[:300])}"
            )
        return _verdict(answer.json())

    async def _posted(
        self, path: str, content: bytes | str, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The answer, once the key's limits let the request in. Raises httpx.HTTPError, and ServerRefused: not today."""
        while True:
            answer = await self._client.post(path, content=content, headers=dict(headers or {}))
            wait = answer.headers.get("retry-after", "")
            if answer.status_code != HTTPStatus.TOO_MANY_REQUESTS or not wait.isdecimal():
                return answer
            if int(wait) > _LIMIT_PASSES_S:
                raise ServerRefused(f"{self._url}{path} answers 429: {shown(answer.text[:300])}")
            await asyncio.sleep(int(wait))

    def _check_checkpoint(self, member: str, content: bytes) -> None:
        """Samples of two checkpoints must not count as one member's."""
        try:
            checkpoint = json.loads(content)["choices"][0]["alpharay"]["checkpoint"]
        except (ValueError, LookupError, TypeError):
            return
        if checkpoint != self._checkpoints.get(member, checkpoint):
            raise ServerRefused(
                f"--server: {member} has another checkpoint now ({str(checkpoint)[:12]}, before "
                f"{self._checkpoints[member][:12]}); start again with another --out"
            )


def judge_fields(path: Path) -> dict[str, Json]:
    """Of each problem of a file that has been read, by its id: its `tests` as they stand there, and the limits it sets."""
    with any_digits(), path.open(encoding="utf-8") as lines:
        return {
            raw["id"]: {
                "tests": raw["tests"],
                "limits": {name: raw[name] for name in _LIMITS if raw.get(name) is not None},
            }
            for raw in map(json.loads, filter(str.strip, lines))
        }


def _verdict(body: Json) -> Verdict:
    """A server that tells outcomes only (`judge.verdict_detail: outcome`) leaves the rest at 0."""
    detail = body.get("detail", "")
    failed = _FAILED_CASE.match(detail)
    return Verdict(
        VerdictKind(body["verdict"]),
        body.get("passed", 0),
        body.get("total", 0),
        cpu_s=body.get("cpu_s", 0.0),
        wall_s=body.get("wall_s", 0.0),
        memory_mb=body.get("memory_mb", 0.0),
        detail=detail,
        failed_case=int(failed[1]) - 1 if failed else None,
    )
