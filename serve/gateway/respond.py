"""The `alpharay` objects of an answer: where each choice came from, and what the whole request spent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from alpharay.judge.verdict import VerdictKind
from alpharay.router import Candidate
from alpharay.serve.dialects.dialect import Origin, Spent
from alpharay.serve.gateway.server import Server
from alpharay.serve.sampling import tool_turns
from alpharay.serve.sampling.ensemble import Outcome
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.state.members import ServedMember
from alpharay.serve.state.metrics import Counts

Json = dict[str, Any]


def returned(parsed: ParsedRequest, outcome: Outcome) -> list[Candidate]:
    """The candidates that come back, best first; never none, also when no one passed."""
    order, choices = _order(parsed, outcome), parsed.request.choices
    if parsed.returns == "all":
        return order
    if parsed.returns == "passing":
        return [candidate for candidate in order if candidate.accepted] or order[:choices]
    return order[:choices]


def _order(parsed: ParsedRequest, outcome: Outcome) -> list[Candidate]:
    """Best first: as the session selects, or by their calls where tools were offered and nothing was judged."""
    if parsed.tests is None and parsed.request.tools:
        offered = parsed.dialect.offered(parsed.request)
        return tool_turns.ranked(outcome.session.candidates, parsed.dialect.calls, offered)
    return outcome.session.select()


def choice_note(candidate: Candidate, members: Mapping[str, ServedMember], *, detailed: bool = True) -> Json:
    """The `alpharay` object of one choice. detailed: beside the verdict, how many cases passed and the score."""
    member, verdict = members[candidate.draw.member], candidate.verdict
    return {
        **member.origin,
        "seed": candidate.draw.seed,
        "turn": candidate.draw.turn,
        "verdict": verdict.verdict.value if verdict else None,
        "passed": verdict.passed if verdict and detailed else None,
        "total": verdict.total if verdict and detailed else None,
        "score": candidate.score if verdict and detailed else None,
    }


def summary(parsed: ParsedRequest, outcome: Outcome) -> Json:
    """The `alpharay` object of the whole answer: what was spent, and what about the request was not as it was asked."""
    session = outcome.session
    verdicts: dict[str, Counter[str]] = {name: Counter() for name in session.drawn}
    for candidate in session.candidates:
        if candidate.verdict is not None:
            verdicts[candidate.draw.member][candidate.verdict.verdict.value] += 1
    drawn = outcome.drawn
    sampling = session.sampling  # of a direct answer with all its choices
    budget = sampling.budget + parsed.input_samples
    fields: Json = {
        "budget": max(parsed.requested_budget, budget),
        "effective_budget": sampling.effective_budget + parsed.input_samples,
        "drawn": drawn.total(),
        "members": {
            name: {"drawn": samples, "verdicts": dict(verdicts[name])}
            for name, samples in drawn.items()
            if samples
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
    if parsed.from_prompt:
        fields["tests"] = "from_prompt"
    if outcome.selection:
        fields["selection"] = outcome.selection
    if parsed.requested_budget > budget:
        fields["clamped"] = "the key's max_budget"
    if parsed.request.changed:
        fields["left_out"] = list(parsed.request.changed)
    return fields


def origin(parsed: ParsedRequest) -> Origin:
    return Origin(request_id=parsed.request_id, model=parsed.model, created=int(time.time()))


def whole(
    parsed: ParsedRequest,
    outcome: Outcome,
    chosen: list[Candidate],
    members: Mapping[str, ServedMember],
    origin: Origin,
) -> Json:
    """The finished answer in the caller's dialect."""
    return parsed.dialect.answer(
        origin,
        [candidate.payload for candidate in chosen],
        [
            choice_note(candidate, members, detailed=parsed.detailed) | _calls(outcome, candidate)
            for candidate in chosen
        ],
        summary(parsed, outcome),
    )


def _calls(outcome: Outcome, candidate: Candidate) -> Json:
    """Of a candidate that may call `python`, the programs that it had run and what they gave."""
    calls = outcome.ran.get(candidate.draw.index)
    if calls is None:
        return {}
    return {"python": [{"code": call.code, "output": call.output} for call in calls]}


def record(server: Server, parsed: ParsedRequest, outcome: Outcome, chosen: list[Candidate]) -> None:
    """Counts the finished request, and hands it to what is learnt. chosen: the choices of its answer."""
    count(server.counts, outcome, chosen)
    if parsed.trace.live:
        parsed.trace.set_attributes(
            {
                "gen_ai.response.model": chosen[0].draw.member,
                "gen_ai.usage.input_tokens": outcome.prompt_tokens,
                "gen_ai.usage.output_tokens": outcome.completion_tokens,
                "alpharay.drawn": outcome.drawn.total(),
                "alpharay.stopped": outcome.session.stopped.value if outcome.session.stopped else None,
                "alpharay.judge": outcome.judge,
            }
        )
    levels = [case.level for case in getattr(parsed.tests, "cases", ())]
    server.learning.record(parsed.request_id, outcome.session, chosen, levels)
    if server.rollouts is not None and parsed.given_tests is not None and not parsed.direct:
        from alpharay.serve.gateway.rollouts import rollouts_of  # pyarrow comes with it

        server.rollouts.take(partial(rollouts_of, parsed, outcome, server.by_name))


def count_for_key(counts: Counts, key: str, samples: int, tokens: Spent, judge_cpu_s: float = 0.0) -> None:
    """Adds what a request has spent to the usage of its key. tokens: of prompts and completions."""
    counts.key_samples.labels(key).inc(samples)
    counts.key_tokens.labels(key, "prompt").inc(tokens[0])
    counts.key_tokens.labels(key, "completion").inc(tokens[1])
    counts.key_judge_cpu.labels(key).inc(judge_cpu_s)


def count(counts: Counts, outcome: Outcome, chosen: list[Candidate]) -> None:
    """What the answer adds to the metrics."""
    counts.selected.labels(chosen[0].draw.member).inc()
    kept = {candidate.draw.index for candidate in chosen}
    for candidate in outcome.session.candidates:
        if candidate.draw.index not in kept:
            verdict = None if candidate.verdict is None else candidate.verdict.verdict
            unfailed = (None, VerdictKind.ACCEPTED, VerdictKind.JUDGE_ERROR)
            reason = "unselected" if verdict in unfailed else "failed"
            counts.wasted_tokens.labels(candidate.draw.member, reason).inc(candidate.completion_tokens)
    if outcome.session.passes:
        passing = (number for number, each in enumerate(outcome.session.candidates, 1) if each.accepted)
        counts.to_first_pass.observe(next(passing))
