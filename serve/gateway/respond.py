"""What alpharay tells beside an answer: where each choice came from, and what the whole request spent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from alpharay.router import Candidate
from alpharay.serve.dialects.dialect import Origin
from alpharay.serve.sampling import tool_turns
from alpharay.serve.sampling.ensemble import Job, Outcome
from alpharay.serve.state.members import ServedMember
from alpharay.serve.state.metrics import Counts

Json = dict[str, Any]


def returned(job: Job, outcome: Outcome, returns: str) -> list[Candidate]:
    """The candidates that come back, best first; never none, also when no one passed."""
    order, choices = _order(job, outcome), job.request.choices
    if returns == "all":
        return order
    if returns == "passing":
        return [candidate for candidate in order if candidate.accepted] or order[:choices]
    return order[:choices]


def _order(job: Job, outcome: Outcome) -> list[Candidate]:
    """Best first: as the session selects, or by their calls where tools were offered and nothing was judged."""
    if job.tests is None and job.request.tools:
        offered = job.dialect.offered(job.request)
        return tool_turns.ranked(outcome.session.candidates, job.dialect.calls, offered)
    return outcome.session.select()


def choice_note(candidate: Candidate, members: Mapping[str, ServedMember]) -> Json:
    """The `alpharay` object of one choice."""
    member, verdict = members[candidate.draw.member], candidate.verdict
    return {
        **member.origin,
        "seed": candidate.draw.seed,
        "turn": candidate.draw.turn,
        "verdict": verdict.verdict.value if verdict else None,
        "passed": verdict.passed if verdict else None,
        "total": verdict.total if verdict else None,
        "score": candidate.score if verdict else None,
    }


def summary(job: Job, outcome: Outcome) -> Json:
    """The `alpharay` object of the whole answer."""
    session = outcome.session
    verdicts: dict[str, Counter[str]] = {name: Counter() for name in session.drawn}
    for candidate in session.candidates:
        if candidate.verdict is not None:
            verdicts[candidate.draw.member][candidate.verdict.verdict.value] += 1
    return {
        "budget": max(job.asked, job.sampling.budget),
        "effective_budget": job.sampling.effective_budget,
        "drawn": session.drawn.total(),
        "members": {
            name: {"drawn": drawn, "verdicts": dict(verdicts[name])}
            for name, drawn in session.drawn.items()
            if drawn
        },
        "stopped": session.stopped.value if session.stopped else None,
        "judge": outcome.judge,
        "usage": {"prompt_tokens": outcome.prompt_tokens, "completion_tokens": outcome.completion_tokens},
        "seconds": {
            "sample": round(outcome.sample_s, 4),
            "judge": round(outcome.judge_s, 4),
            "total": round(outcome.total_s, 4),
        },
    }


def origin(job: Job, model: str) -> Origin:
    """model: the frontier's name, where the request names none."""
    return Origin(request_id=job.request_id, model=job.request.model or model, created=int(time.time()))


def whole(
    job: Job, outcome: Outcome, chosen: list[Candidate], members: Mapping[str, ServedMember], origin: Origin
) -> Json:
    """The finished answer in the caller's dialect."""
    return job.dialect.answer(
        origin,
        [candidate.payload for candidate in chosen],
        [choice_note(candidate, members) | _calls(outcome, candidate) for candidate in chosen],
        told(job, outcome),
    )


def told(job: Job, outcome: Outcome) -> Json:
    """The summary, and what about the request was not as it was asked."""
    own = summary(job, outcome)
    if job.from_prompt:
        own["tests"] = "from_prompt"
    if job.asked > job.sampling.budget:
        own["clamped"] = "the key's max_budget"
    if job.request.changed:
        own["left_out"] = list(job.request.changed)
    return own


def _calls(outcome: Outcome, candidate: Candidate) -> Json:
    """Of a candidate that may call `python`, the programs that it had run and what they gave."""
    ran = outcome.ran.get(candidate.draw.index)
    return {} if ran is None else {"python": [{"code": one.code, "output": one.output} for one in ran]}


def count(counts: Counts, outcome: Outcome, chosen: list[Candidate]) -> None:
    """What the answer adds to the metrics."""
    counts.selected.labels(chosen[0].draw.member).inc()
    kept = {candidate.draw.index for candidate in chosen}
    for candidate in outcome.session.candidates:
        if candidate.draw.index not in kept:
            reason = "unselected" if candidate.accepted or candidate.verdict is None else "failed"
            counts.wasted_tokens.labels(candidate.draw.member, reason).inc(candidate.completion_tokens)
    passing = (number for number, one in enumerate(outcome.session.candidates, 1) if one.accepted)
    if (first := next(passing, None)) is not None:
        counts.to_first_pass.observe(first)
