"""The engines and the judge of a server that is up, for work that comes from a file."""

from __future__ import annotations

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
# How the judge begins what it says of a case that failed.
_FAILED_CASE = re.compile(r"case (\d+) of \d+: ")


class ServerRefused(ServeError):
    """The server answers, and will not do it."""


class OverHttp:
    """raw: the tests of each problem as they stand in its file, by its id, which is what the judge is told by.

    url: of the server, with or without `/v1`. key: its API key.
    """

    def __init__(self, url: str, key: str | None, raw: Mapping[str, Json], at_once: int) -> None:
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
        self._raw = raw

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
            found = tuple(
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
        return found

    async def sample(self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]) -> Reply:
        """One whole answer of a member. Raises SampleLost."""
        try:
            answer = await self._client.post(path, content=body.whole(), headers=dict(headers))
        except httpx.HTTPError as error:
            raise SampleLost(f"{member}: {error or type(error).__name__}") from error
        if answer.status_code in _PASSES:
            raise SampleLost(f"{member}: {answer.status_code} {answer.text[:300]}")
        return Reply(answer.status_code, answer.headers.get("content-type", ""), answer.content)

    async def judge(
        self, tests: Tests, completion: str, limits: Limits, language: str, group: str
    ) -> Verdict:
        """group: the problem's id. Raises JudgeUnavailable, and ServerRefused for what the server will not judge."""
        del tests  # the server reads them itself
        asked = {
            "tests": self._raw[group],
            "completion": completion,
            "language": language,
            "limits": {"time_limit_s": limits.cpu_s, "memory_limit_mb": limits.memory_mb},
        }
        try:
            answer = await self._client.post("/v1/judge", content=json.dumps(asked))
        except httpx.HTTPError as error:
            raise JudgeUnavailable(str(error) or type(error).__name__) from error
        if answer.status_code in _PASSES:
            raise JudgeUnavailable(f"{answer.status_code} {answer.text[:300]}")
        if answer.status_code != HTTPStatus.OK:
            raise ServerRefused(
                f"{self._url}/v1/judge answers {answer.status_code} for the problem {group!r}: {shown(answer.text[:300])}"
            )
        return _verdict(answer.json())


def raw_tests(path: Path) -> dict[str, Json]:
    """The `tests` of each problem of a file that has been read, by its id, as they stand there."""
    with any_digits(), path.open(encoding="utf-8") as lines:
        return {raw["id"]: raw["tests"] for raw in map(json.loads, filter(str.strip, lines))}


def _verdict(told: Json) -> Verdict:
    """A server that tells outcomes only (`judge.verdict_detail: outcome`) leaves the rest at 0."""
    detail = told.get("detail", "")
    failed = _FAILED_CASE.match(detail)
    return Verdict(
        VerdictKind(told["verdict"]),
        told.get("passed", 0),
        told.get("total", 0),
        cpu_s=told.get("cpu_s", 0.0),
        wall_s=told.get("wall_s", 0.0),
        memory_mb=told.get("memory_mb", 0.0),
        detail=detail,
        failed_case=int(failed[1]) - 1 if failed else None,
    )
