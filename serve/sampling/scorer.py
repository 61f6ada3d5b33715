"""A scorer over HTTP, for the selector `{url: …}`: one call a request, whose answer says a word on each program.

What is sent: `{"id", "prompt", "language", "candidates": [{"index", "text", "verdict", "passed", "total"}]}`. What comes
back: `{"candidates": [{"index", "decision"}]}`, each decision `accept`, `reject`, `tie` or `abstain`. A candidate that is
not named is one abstained from. Only addresses of the configuration are called, and redirects are not followed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from alpharay.router import Candidate, Decision, ranked
from alpharay.serve.dialects.api_request import Json, prompt_text
from alpharay.serve.sampling.evidence import source_in, texts_of
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.sections import Scorer
from alpharay.serve.state.metrics import Counts

# Distinct programs, and bytes, of one call; those beyond them are abstained from. Bytes of an answer.
_LONGEST_S = 3600.0  # each call has a time limit of its own
_MOST_PROGRAMS, _MOST_SENT, _MOST_READ = 256, 8 << 20, 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """decisions: by the index of a draw.

    ended: `ok`, `timeout`, `unreachable`, `refused` (another status than 200), `malformed` or `too_long` (the prompt:
    nothing was sent).
    """

    ended: str
    decisions: dict[int, Decision]

    def summary(self, url: str | None) -> Json:
        """What the answer says of the scorer. url: None where the configuration named the scorer, whose address is then not the caller's to know."""
        counts = Counter(decision.value for decision in self.decisions.values())
        return {"selector": {"url": url}, "ended": self.ended, "decisions": dict(counts)}


class ScorerClient:
    """Calls scorers. One per ingress replica; its connections are kept."""

    def __init__(self, counts: Counts, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._counts = counts
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def score(self, parsed: ParsedRequest, candidates: list[Candidate], left_s: float) -> Scored:
        """left_s: until the request's deadline. Never raises for what the scorer does: then it abstains from all."""
        assert parsed.scorer is not None
        order = ranked(candidates, "tests")
        texts = texts_of(parsed, order)
        same = _alike(texts, parsed.language)
        body = _body(parsed, [candidate for candidate in order if candidate.draw.index in same], texts)
        decided: dict[int, Decision] = {}
        started, ended = time.monotonic(), "too_long"
        if body is not None:
            ended, decided = await self._ask(parsed.scorer, body, left_s)
        self._counts.scorer_requests.labels(ended).inc()
        self._counts.scorer_duration.observe(time.monotonic() - started)
        decisions = {
            index: decided.get(first, Decision.ABSTAIN) for first, group in same.items() for index in group
        }
        for decision in decisions.values():
            self._counts.scorer_decisions.labels(decision.value).inc()
        return Scored(ended=ended, decisions=decisions)

    async def _ask(self, scorer: Scorer, body: bytes, left_s: float) -> tuple[str, dict[int, Decision]]:
        """How the call ended, and what it decided."""
        try:
            async with asyncio.timeout(max(0.0, min(scorer.timeout_s, left_s))):
                return "ok", _read(await self._post(scorer.url, body))
        except TimeoutError:
            return "timeout", {}
        except (httpx.HTTPError, httpx.InvalidURL):
            return "unreachable", {}
        except _Refused:
            return "refused", {}
        except ValueError:
            return "malformed", {}

    async def _post(self, url: str, body: bytes) -> bytes:
        """Raises httpx.HTTPError, _Refused, and ValueError for an answer that is too long."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self._transport, trust_env=False, follow_redirects=False, timeout=_LONGEST_S
            )
        self._client.cookies.clear()  # what a scorer sets is neither another request's nor another scorer's
        # What is not compressed cannot grow beyond the bound while it is read.
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        async with self._client.stream("POST", url, content=body, headers=headers) as response:
            if response.status_code != HTTPStatus.OK:
                raise _Refused
            read = bytearray()
            async for chunk in response.aiter_raw():
                read += chunk
                if len(read) > _MOST_READ:
                    raise ValueError("the answer is too long")
            return bytes(read)


class _Refused(Exception):
    """The scorer answered with another status than 200."""


def _alike(texts: Mapping[int, str], language: str) -> dict[int, list[int]]:
    """Of each distinct program (or text without any) the first draw, and all draws that gave it."""
    firsts: dict[str, int] = {}
    same: dict[int, list[int]] = {}
    for index, text in texts.items():
        first = firsts.setdefault(source_in(text, language) or text, index)
        same.setdefault(first, []).append(index)
    return same


def _body(parsed: ParsedRequest, candidates: list[Candidate], texts: Mapping[int, str]) -> bytes | None:
    """What is sent; None where the prompt leaves no room for a candidate."""
    prompt = prompt_text(parsed.request.body)
    room = _MOST_SENT - len(prompt.encode())
    rows: list[Json] = []
    for candidate in candidates[:_MOST_PROGRAMS]:
        verdict = candidate.verdict
        row = {
            "index": candidate.draw.index,
            "text": texts[candidate.draw.index],
            "verdict": verdict.verdict.value if verdict else None,
            "passed": verdict.passed if verdict else None,
            "total": verdict.total if verdict else None,
        }
        room -= len(texts[candidate.draw.index].encode(errors="replace")) + 200
        if room < 0:
            break
        rows.append(row)
    if not rows:
        return None
    question = {"id": parsed.request_id, "prompt": prompt, "language": parsed.language, "candidates": rows}
    return json.dumps(question, ensure_ascii=False).encode(errors="replace")  # half a surrogate pair is "?"


def _read(body: bytes) -> dict[int, Decision]:
    """Raises ValueError: not the answer of a scorer."""
    try:
        answer: Any = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    rows = answer.get("candidates") if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        raise ValueError("`candidates` is no list")  # noqa: TRY004 - as the other ways to be malformed
    decisions = {}
    for row in rows:
        if not isinstance(row, dict) or type(row.get("index")) is not int:
            raise ValueError("a candidate has no `index`")
        decisions[row["index"]] = Decision(str(row.get("decision")))
    return decisions
