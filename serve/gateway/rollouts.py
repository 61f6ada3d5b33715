"""A request's judged candidates as rollouts, for `server.rollouts`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from alpharay.judge.verdict import VerdictKind
from alpharay.router import Candidate
from alpharay.serve.dialects.api_request import Json, content_text, objects
from alpharay.serve.learn.rollouts.fields import Row, fields_of, tests_hash, tokens_of
from alpharay.serve.sampling.ensemble import Outcome
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.state.members import ServedMember

_OPTIONS = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "max_output_tokens", "stop",
    "presence_penalty", "frequency_penalty", "repetition_penalty", "reasoning_effort", "chat_template_kwargs",
)  # fmt: skip


def rollouts_of(parsed: ParsedRequest, outcome: Outcome, members: Mapping[str, ServedMember]) -> list[Row]:
    """Rows of the rollouts' schema: of every candidate that was judged against the caller's own tests.

    Reads programs and hashes tests: not for the event loop.
    """
    tests = tests_hash(parsed.given_tests)
    fields: Json = json.loads(parsed.request.rest)
    messages = _messages(fields)
    problem = hashlib.sha256(json.dumps([messages, tests]).encode()).hexdigest()[:32]
    levels = [case.level for case in getattr(parsed.tests, "cases", ())]
    rows = []
    for candidate in outcome.session.candidates:
        if candidate.verdict is None or candidate.verdict.verdict == VerdictKind.JUDGE_ERROR:
            continue
        further = outcome.repairs.get(candidate.draw.index)
        sent = _messages(json.loads(further.rest)) if further is not None else messages
        text = parsed.dialect.text(candidate.payload, parsed.request)
        row = _outcome(candidate, members[candidate.draw.member], problem, text, levels)
        row |= fields_of(
            row["verdict"],
            text,
            checkpoint=members[candidate.draw.member].sha256,
            language=parsed.language,
            messages=sent,
            options={name: fields[name] for name in _OPTIONS if name in fields},
            tests_sha256=tests,
        )
        ran = outcome.ran.get(candidate.draw.index)
        row |= {
            "request": f"{parsed.dialect.ID}{parsed.request_id}",
            "turn": candidate.draw.turn,
            "tool_runs": None
            if ran is None
            else json.dumps([{"code": r.code, "output": r.output} for r in ran]),
        }
        rows.append(row | _of_answer(candidate.payload))
    return rows


def _outcome(
    candidate: Candidate, member: ServedMember, problem: str, text: str, levels: list[int | None]
) -> Row:
    verdict = candidate.verdict
    assert verdict is not None
    case = verdict.failed_case
    return {
        "problem": problem,
        "member": member.name,
        "alpha": member.alpha,
        "weights": json.dumps(dict(member.weights)),
        "sample": candidate.draw.index,
        "seed": candidate.draw.seed,
        "verdict": VerdictKind(verdict.verdict).value,
        "failed_level": levels[case] if case is not None and case < len(levels) else None,
        "passed": verdict.passed,
        "total": verdict.total,
        "prompt_tokens": candidate.prompt_tokens,
        "completion_tokens": candidate.completion_tokens,
        "cpu_s": verdict.cpu_s,
        "text_sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
    }


def _of_answer(payload: Json) -> Row:
    """Fields of answers with choices (tokens, reasoning), and the finish reason."""
    if not payload.get("choices"):
        return {"finish_reason": payload.get("stop_reason") or payload.get("status")}
    choice = payload["choices"][0]
    reasoning = choice.get("message", {}).get("reasoning")
    return tokens_of(payload) | {"reasoning": reasoning, "finish_reason": choice.get("finish_reason")}


def _messages(fields: Json) -> list[dict[str, str]]:
    """What was sent, whichever dialect it is in, as messages of text."""
    head = [_message("system", fields[name]) for name in ("system", "instructions") if fields.get(name)]
    for name in ("messages", "input"):
        if isinstance(fields.get(name), list):
            turns = [turn for turn in objects(fields[name]) if "role" in turn]
            return [*head, *(_message(turn["role"], turn.get("content")) for turn in turns)]
    prompt = fields.get("input", fields.get("prompt"))
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str):
        prompt = prompt[0]  # a completion's only prompt, in a list
    return [*head, _message("user", prompt)]


def _message(role: Any, content: Any) -> dict[str, str]:
    return {"role": str(role), "content": content_text(content)}
