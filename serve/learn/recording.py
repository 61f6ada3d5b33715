"""A session's history written down, so that its decisions can be replayed.

A trace is plain JSON: what the request asked, and every call of its driver in order. What was known of the
members is not in it but in the log: `folded` says how many rows it was learnt from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router import (
    POLICIES,
    Candidate,
    Decision,
    Down,
    Draw,
    Event,
    Expired,
    LoggedOutcome,
    Lost,
    Member,
    Revived,
    RouterState,
    SamplingRequest,
    Session,
    Stop,
    logged_outcome_of,
)
from alpharay.router.draw import Evidence, fields_of
from alpharay.router.schedule import Recommendation
from alpharay.router.session import Learnt
from alpharay.serve.dialects import DIALECTS

_VERSION = 1
# Of a SamplingRequest: as it is. Members and router state are written differently.
_PLAIN = [field.name for field in fields(SamplingRequest) if field.name not in ("members", "router_state")]

# A response's id is its dialect's prefix and the request's own id.
_ANSWER_ID = re.compile(rf"(?:{'|'.join(dialect.ID for dialect in DIALECTS)})?([0-9a-f]{{32}})")

Json = dict[str, Any]


class RecordedSession(Session):
    """A `Session` by the name of its policy, which can be written down."""

    def __init__(self, sampling: SamplingRequest, policy: str) -> None:
        super().__init__(sampling, POLICIES[policy]())
        self.policy = policy

    def trace(self, checkpoints: Mapping[str, str]) -> Json:
        """checkpoints: per served member's name, what weights it has."""
        router_state = self.sampling.router_state
        return {
            "version": _VERSION,
            "policy": self.policy,
            "ask": {name: getattr(self.sampling, name) for name in _PLAIN}
            | {
                "members": [[m.name, m.alpha, dict(m.weights)] for m in self.sampling.members],
                "standing": {"folded": router_state.folded, "portfolio": router_state.portfolio.as_json()},
            },
            "checkpoints": dict(checkpoints),
            "draws": [fields_of(draw) for draw in self.draws],
            "steps": [entry for step in self.history for entry in _recorded_step(step)],
        }

    def experiences(self, request: str, levels: Sequence[int | None] = ()) -> list[LoggedOutcome]:
        """Logged outcomes of its judged candidates, in the order in which they counted. levels: of the test cases."""
        members = {member.name: member for member in self.sampling.members}
        verdicts = {candidate.draw.index: candidate.verdict for candidate in self.candidates}
        rows = []
        for candidate in self.candidates:
            case = candidate.verdict.failed_case if candidate.verdict is not None else None
            mended = verdicts.get(candidate.draw.repairs) if candidate.draw.repairs is not None else None
            rows.append(
                logged_outcome_of(
                    candidate,
                    request=request,
                    alpha=members[candidate.draw.member].alpha,
                    weights=members[candidate.draw.member].weights,
                    repaired=mended.verdict if mended is not None else None,
                    failed_level=levels[case] if case is not None and case < len(levels) else None,
                    features=self.sampling.features,
                )
            )
        return [row for row in rows if row is not None]


def replayed(
    trace: Mapping[str, Any],
    router_state: RouterState | None = None,
    observe: Callable[[RecordedSession, tuple[Draw, ...]], None] = lambda *_: None,
) -> RecordedSession:
    """Replays the recorded request: a session that receives the same events.

    router_state: what was known then: the learner's, folded to `folded_of(trace)` rows. Its draws, what counts and
    its selection are then those of the live request. observe: called after each step that decided on draws.

    Raises ValueError: a trace of another version.
    """
    if trace.get("version") != _VERSION:
        raise ValueError(f"the trace has version {trace.get('version')!r}, this program reads {_VERSION}")
    recorded = trace["ask"]
    sampling = SamplingRequest(
        members=_members(trace),
        router_state=router_state or RouterState(portfolio=portfolio_of(trace)),
        **{name: recorded[name] for name in _PLAIN if name in recorded}
        | {"features": tuple(recorded["features"])},
    )
    session = RecordedSession(sampling, trace["policy"])
    events: list[Event] = []
    for kind, *values in trace["steps"]:
        draws = {draw.index: draw for draw in session.draws}
        match kind:
            case "wave":
                draws_now = session.step(events)
                events = []
                if draws_now and not isinstance(draws_now, Stop):
                    observe(session, draws_now)
            case "seen":
                events.append(_read(values[0], draws))
            case "lost":
                events.append(Lost(draws[values[0]]))
            case "down":
                events.append(Down(tuple(values[0])))
            case "revived":
                events.append(Revived())
            case "learnt":
                session.step(events)
                events = []
                session.learn({index: _evidence(each) for index, each in values[0]})
            case _:
                events.append(Expired(tuple(_read(candidate, draws) for candidate in values[0])))
    if events:
        session.step(events)
    return session


def _members(trace: Mapping[str, Any]) -> tuple[Member, ...]:
    """The members of a recorded request; traces of earlier versions have no weights."""
    return tuple(
        Member(name=name, alpha=alpha, weights=tuple(weights[0].items()) if weights else ())
        for name, alpha, *weights in trace["ask"]["members"]
    )


def recorded_id(answer: str) -> str | None:
    """The id under which a request is recorded, from its answer's: without the dialect's prefix. None: no answer has it."""
    match = _ANSWER_ID.fullmatch(answer)
    return match[1] if match else None


def folded_of(trace: Mapping[str, Any]) -> int:
    """The number of log rows that the request's router state was learnt from."""
    return int(trace["ask"]["standing"]["folded"])


def portfolio_of(trace: Mapping[str, Any]) -> Recommendation:
    """The schedule or split that `portfolio` followed."""
    return Recommendation.from_json(trace["ask"]["standing"]["portfolio"])


def drawn(trace: Mapping[str, Any], index: int) -> Json:
    """What is known of one draw of a recorded request: its member, alpha, weights, checkpoint, turn, tokens, and the
    verdict of the attempt that it mends.
    """
    draw = next(recorded for recorded in trace["draws"] if recorded["index"] == index)
    seen: dict[int, Json] = {}
    for kind, *values in trace["steps"]:
        if kind in ("seen", "expired"):
            seen |= {
                candidate["draw"]: candidate
                for candidate in (values[0] if kind == "expired" else [values[0]])
            }
    own = seen.get(index, {})
    mended = seen.get(draw["repairs"], {}).get("verdict") if draw["repairs"] is not None else None
    member = next(member for member in _members(trace) if member.name == draw["member"])
    return {
        "member": draw["member"],
        "alpha": member.alpha,
        "weights": dict(member.weights),
        "checkpoint": trace["checkpoints"].get(draw["member"], ""),
        "turn": draw["turn"],
        "prompt_tokens": own.get("prompt_tokens", 0),
        "completion_tokens": own.get("completion_tokens", 0),
        "repaired": mended["verdict"] if mended else None,
    }


def _recorded_step(step: tuple[Event, ...] | Learnt) -> list[list[Any]]:
    if isinstance(step, Learnt):
        return [["learnt", [[index, fields_of(evidence)] for index, evidence in step.evidence.items()]]]
    return [*map(_recorded, step), ["wave"]]


def _recorded(event: Event) -> list[Any]:
    match event:
        case Candidate():
            return ["seen", _candidate(event)]
        case Lost(draw):
            return ["lost", draw.index]
        case Down(members):
            return ["down", list(members)]
        case Revived():
            return ["revived"]
        case Expired(candidates):
            return ["expired", [_candidate(candidate) for candidate in candidates]]


def _candidate(candidate: Candidate) -> Json:
    verdict = candidate.verdict
    return {
        "draw": candidate.draw.index,
        "verdict": verdict
        and {
            "verdict": verdict.verdict.value,
            "passed": verdict.passed,
            "total": verdict.total,
            "failed_case": verdict.failed_case,
        },
        "prompt_tokens": candidate.prompt_tokens,
        "completion_tokens": candidate.completion_tokens,
        "evidence": fields_of(candidate.evidence),
    }


def _read(recorded: Mapping[str, Any], draws: Mapping[int, Draw]) -> Candidate:
    verdict = recorded["verdict"]
    return Candidate(
        draw=draws[recorded["draw"]],
        verdict=verdict and Verdict(**{**verdict, "verdict": VerdictKind(verdict["verdict"])}),
        prompt_tokens=recorded["prompt_tokens"],
        completion_tokens=recorded["completion_tokens"],
        evidence=_evidence(recorded["evidence"]),
    )


def _evidence(recorded: Mapping[str, Any]) -> Evidence:
    decision = recorded.get("decision")  # traces of earlier versions have none
    return Evidence(
        **{
            **recorded,
            "behaviour": tuple(recorded["behaviour"]),
            "decision": None if decision is None else Decision(decision),
        }
    )
