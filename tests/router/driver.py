"""A driver of sessions without engines, judge or clock: what ends next and how is the test's choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router import (
    POLICIES,
    Candidate,
    Draw,
    Expired,
    Member,
    Revived,
    RouterState,
    SamplingRequest,
    Session,
    Stop,
)
from alpharay.router import Lost as LostDraw

# A driver that needs more steps than this hangs.
MANY = 20_000

OutcomeClass = Callable[[Draw], Verdict | None]


class Lost(Exception):
    """Raised by an outcome class: the draw's engine died."""


def frontier(*alphas: float) -> tuple[Member, ...]:
    return tuple(Member(name=f"frontier@{alpha:g}", alpha=alpha) for alpha in alphas)


FIVE = frontier(-0.5, 0.0, 0.5, 1.0, 1.5)


def sampling(budget: int = 5, members: Sequence[Member] = FIVE, seed: int = 1, **rest) -> SamplingRequest:
    return SamplingRequest(members=tuple(members), budget=budget, seed=seed, **rest)


class ByHand(Session):
    """A session whose step is taken in two: a test reports events one by one, and then asks for the next wave."""

    def next_wave(self) -> tuple[Draw, ...]:
        return self._next_wave()

    def observe(self, candidate: Candidate) -> None:
        self._observe(candidate)

    def lost(self, draw: Draw) -> None:
        self._lost(draw)

    def revive(self) -> None:
        self._down.clear()

    def expire(self, unjudged: Sequence[Candidate] = ()) -> None:
        self._expire(unjudged)

    @property
    def stalled(self) -> bool:
        """Samples are left and nothing is under way: the members that could be drawn from are down."""
        return not (self.stopped or self._pending) and self._left() > 0


def make_session(policy: str = "uniform", **options) -> ByHand:
    return ByHand(sampling(**options), POLICIES[policy]())


def accepted(total: int = 4) -> Verdict:
    return Verdict(VerdictKind.ACCEPTED, total, total)


def failed(passed: int = 0, total: int = 4, kind: VerdictKind = VerdictKind.WRONG_ANSWER) -> Verdict:
    return Verdict(kind, passed, total)


def by_seed(share: float, salt: int = 0) -> OutcomeClass:
    """Passes and fails as an engine and a judge would: the same seed always comes to the same."""

    def outcome_class(draw: Draw) -> Verdict:
        dice = Random(f"{draw.seed} {salt}")
        return accepted() if dice.random() < share else failed(dice.randrange(4))

    return outcome_class


@dataclass
class Log:
    """started: every draw in order. finished: those that were observed. waves: sizes of what was started at once."""

    started: list[Draw] = field(default_factory=list)
    finished: list[Draw] = field(default_factory=list)
    lost: list[Draw] = field(default_factory=list)
    waves: list[int] = field(default_factory=list)
    revivals: int = 0


def drive(
    session: Session,
    outcome_class: OutcomeClass = lambda _: None,
    *,
    order: Random | None = None,
    expire_after: int | None = None,
) -> Log:
    """Runs a session to its end; draws end in the order in which they began, or shuffled by `order`."""
    log, under_way, events = Log(), [], []
    for _ in range(MANY):
        wave = session.step(events)
        if isinstance(wave, Stop):
            return log
        log.started += wave
        log.waves += [len(wave)] if wave else []
        under_way += wave
        if expire_after is not None and len(log.finished) >= expire_after:
            events = [Expired()]
        elif not under_way:
            log.revivals += 1
            events = [Revived()]
        else:
            draw = under_way.pop(order.randrange(len(under_way)) if order else 0)
            try:
                verdict = outcome_class(draw)
            except Lost:
                log.lost.append(draw)
                events = [LostDraw(draw)]
            else:
                log.finished.append(draw)
                events = [Candidate(draw=draw, verdict=verdict)]
    raise AssertionError(f"no end after {MANY} steps: {session.drawn} of {session.sampling.budget}")


def rates(**solved: tuple[int, int]) -> RouterState:
    """rates(high=(3, 4)): three of four samples were solved."""
    return RouterState(
        {name: counts[0] for name, counts in solved.items()},
        {name: counts[1] for name, counts in solved.items()},
    )
