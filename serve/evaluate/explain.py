"""Replays a served request from its trace: its draws, their outcomes, and what other policies would have done."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from alpharay.router import POLICIES, Candidate, Draw, Event, RouterState, Session, Stop
from alpharay.router.learn.belief import Belief
from alpharay.router.learn.mixture import unlearnt
from alpharay.serve.learn.recording import RecordedSession, folded_of, replayed

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Draws that were decided on together. chances: of each member, that one more sample passes, by what was learnt and
    what had come of the request until then.
    """

    draws: tuple[Draw, ...]
    chances: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """What another policy would have done with the samples that were drawn, each member's in their order.

    drawn: samples until it stopped, or until it asked for more of `unknown` than were drawn, which nobody can tell of.
    """

    policy: str
    drawn: int
    stopped: Stop | None
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """session: as it ended. folded: rows of the log that what was known had been learnt from."""

    session: RecordedSession
    waves: tuple[Wave, ...]
    folded: int
    alternatives: tuple[Alternative, ...]


def explained(trace: Mapping[str, Any], router_state: RouterState) -> Explanation:
    """router_state: what was known then. The policy must be installed. Raises ValueError: a trace of another version."""
    waves: list[Wave] = []

    def observe(session: RecordedSession, draws: tuple[Draw, ...]) -> None:
        waves.append(Wave(draws=draws, chances=_chances(session)))

    session = replayed(trace, router_state, observe)
    others = [policy for policy in POLICIES if policy != session.policy]
    return Explanation(
        session=session,
        waves=tuple(waves),
        folded=folded_of(trace),
        alternatives=tuple(_alternative(session, policy) for policy in others),
    )


def as_json(request: str, explanation: Explanation) -> Json:
    """What `alpharay explain --json` prints."""
    session = explanation.session
    outcomes = _outcomes(session)
    selected = session.select()
    return {
        "id": request,
        "policy": session.policy,
        "budget": session.sampling.budget,
        "seed": session.sampling.seed,
        "rows_learnt_from": explanation.folded,
        "waves": [
            {
                "chances": {name: round(chance, 4) for name, chance in wave.chances.items()},
                "draws": [
                    {
                        "draw": draw.index,
                        "member": draw.member,
                        "seed": draw.seed,
                        "turn": draw.turn,
                        "repairs": draw.repairs,
                        "outcome": outcomes.get(draw.index, _CANCELLED),
                    }
                    for draw in wave.draws
                ],
            }
            for wave in explanation.waves
        ],
        "stopped": session.stopped,
        "answer": selected[0].draw.index if selected else None,
        "other_policies": [
            {
                "policy": each.policy,
                "drawn": each.drawn,
                "stopped": each.stopped,
                "unknown": each.unknown or None,
            }
            for each in explanation.alternatives
        ],
    }


def lines(request: str, explanation: Explanation) -> list[str]:
    """The same for a terminal."""
    session = explanation.session
    sampling = session.sampling
    outcomes = _outcomes(session)
    width = max(len(member.name) for member in sampling.members)
    known = f"{explanation.folded} rows learnt from" if explanation.folded else "nothing learnt before"
    lines = [f"{request}: policy {session.policy}, budget {sampling.budget}, seed {sampling.seed}, {known}"]
    for number, wave in enumerate(explanation.waves, 1):
        chances = ", ".join(f"{name} {chance:.2f}" for name, chance in wave.chances.items())
        lines += [
            "",
            f"wave {number}: {_several(len(wave.draws), 'sample')}; chance of the next one: {chances}",
        ]
        for draw in wave.draws:
            turn = f", turn {draw.turn} of draw {draw.repairs}" if draw.repairs is not None else ""
            lines.append(
                f"  draw {draw.index:<4} {draw.member:<{width}}  {outcomes.get(draw.index, _CANCELLED)}{turn}"
            )
    selected = session.select()
    answer = f"draw {selected[0].draw.index} of {selected[0].draw.member}" if selected else "nothing"
    lines += ["", f"stopped: {session.stopped or 'the client went away'}; answered: {answer}", ""]
    lines.append("other policies with the same samples, each member's in their order:")
    for each in explanation.alternatives:
        if each.unknown:
            end = f"not known: it would have drawn another sample of {each.unknown}, of which no more were drawn"
        else:
            end = f"{each.stopped} after {_several(each.drawn, 'sample')}"
        lines.append(f"  {each.policy:<10} {end}")
    return lines


_CANCELLED = "cancelled or lost"


def _chances(session: Session) -> dict[str, float]:
    sampling = session.sampling
    mixture = sampling.router_state.mixture or unlearnt(tuple(sampling.members))
    gain = Belief(mixture, sampling.members, session.candidates).gain()
    return {member.name: float(chance) for member, chance in zip(sampling.members, gain, strict=True)}


def _outcomes(session: Session) -> dict[int, str]:
    """The outcome of each draw that counts."""
    outcomes = {}
    for candidate in session.candidates:
        verdict = candidate.verdict
        outcomes[candidate.draw.index] = (
            "not judged" if verdict is None else f"{verdict.verdict} {verdict.passed}/{verdict.total}"
        )
    return outcomes


def _alternative(session: RecordedSession, policy: str) -> Alternative:
    recorded: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(session.candidates, key=lambda each: each.draw.index):
        if candidate.draw.turn == 1:
            recorded[candidate.draw.member].append(candidate)
    # Repairs depend on texts, which are not kept.
    sampling = session.sampling
    names = [member.name for member in sampling.members]
    first_wave = sampling.router_state.portfolio.first_wave(names) if policy == "portfolio" else 0
    other = Session(replace(sampling, turns=1, first_wave=first_wave), POLICIES[policy]())
    taken: Counter[str] = Counter()
    events: list[Event] = []
    while not isinstance(draws := other.step(events), Stop):
        events, unknown = [], ""
        for draw in draws:
            if taken[draw.member] < len(recorded[draw.member]):
                events.append(replace(recorded[draw.member][taken[draw.member]], draw=draw))
                taken[draw.member] += 1
            else:
                unknown = unknown or draw.member
        if unknown or not draws:
            passed = any(isinstance(event, Candidate) and event.accepted for event in events)
            if passed and isinstance(other.step(events), Stop):
                break
            return Alternative(policy=policy, drawn=taken.total(), stopped=None, unknown=unknown)
    return Alternative(policy=policy, drawn=other.drawn.total(), stopped=other.stopped)


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
