"""One request as a state machine: waves of draws, their outcomes, and when to stop."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from alpharay.router.draw import Candidate, Draw, Evidence, Member, draw_seeds, mix
from alpharay.router.learn.router_state import RouterState
from alpharay.router.learn.turns import repairable, to_repair
from alpharay.router.policies.base import Policy, PolicyState
from alpharay.router.selection import ranked


class Stop(StrEnum):
    """Why no more samples are drawn."""

    PASSES = "passes"
    BUDGET = "budget"
    DEADLINE = "deadline"
    COST = "cost"  # the policy expects no more of the samples left than they cost


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRequest:
    """The sampling parameters of one request.

    budget: samples over all members, at least 1.
    stop_after_passes: accepted candidates after which drawing stops; None if nothing is judged. greedy: sampling is
    deterministic, so that a member's second sample would repeat its first. reproducible: the caller set the seed and
    expects the same candidates again. Outcomes then count in draw order, not in arrival order: slower engines must
    not change the answer. turns: attempts per candidate: a failed candidate may be repaired up to turns - 1 times,
    from the same budget. least: samples drawn regardless of price: the choices of the answer. first_wave: samples of
    the first wave; 0: one per member.
    rotation, features, price: see `PolicyState`.
    prefer: the member of the first draw while it is available, overriding the policy: its engine has the conversation
    in its prefix cache.
    """

    members: tuple[Member, ...]
    budget: int
    seed: int
    stop_after_passes: int | None = None
    greedy: bool = False
    reproducible: bool = False
    turns: int = 1
    least: int = 1
    first_wave: int = 0
    rotation: int = 0
    selector: str = "tests"
    router_state: RouterState = field(default_factory=RouterState)
    features: tuple[float, ...] = ()
    price: float = 0.0
    prefer: str = ""

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("a request needs at least one member")
        if self.budget < 1:
            raise ValueError(f"the budget must be at least 1 sample, got {self.budget}")
        if self.turns < 1:
            raise ValueError(f"a request has at least 1 turn, got {self.turns}")
        if not (math.isfinite(self.price) and self.price >= 0):
            raise ValueError(f"the price of a token must be a finite number >= 0, got {self.price}")

    @property
    def effective_budget(self) -> int:
        """Samples worth drawing: when greedy, one per member and its later turns, since more would repeat it."""
        return min(self.budget, len(self.members) * self.turns) if self.greedy else self.budget


# A member with this many losses within a request is given up.
GIVE_UP_AFTER = 5
# The next wave starts while up to this share of the last wave is still under way: stragglers idle no engine.
_LATE = 0.25


@dataclass(frozen=True, slots=True)
class Lost:
    """Event: the server failed to finish a draw. Its sample returns to the budget.

    Its member is not drawn from again until `Revived`, and after GIVE_UP_AFTER losses never.
    """

    draw: Draw


@dataclass(frozen=True, slots=True)
class Down:
    """Event: these members are unavailable; nothing is drawn from them until `Revived`."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revived:
    """Event: unavailable members may be drawn from again."""


@dataclass(frozen=True, slots=True)
class Expired:
    """Event: the deadline has passed. Nothing more will be observed; `unjudged` candidates count without a verdict."""

    unjudged: tuple[Candidate, ...] = ()


Event = Candidate | Lost | Down | Revived | Expired
"""What happens to a session. A `Candidate` is a finished draw."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """Evidence of candidates that became known after the last draw, by the index of their draws."""

    evidence: Mapping[int, Evidence]


class Session:
    """Decides the draws of one request. No I/O and no clock: its driver has both (`alpharay/driver.py`).

    The driver calls `step` with the events since the last call and starts the draws that it returns, until it returns
    a `Stop`.

    drawn: per member name, the samples started and not lost. draws: every draw that was handed out.
    candidates: the committed candidates, in commit order. passes: how many of them are accepted.
    history: the events of each step before the stop, and what was learnt after it: enough to replay the session.
    """

    def __init__(self, sampling: SamplingRequest, policy: Policy) -> None:
        self.sampling = sampling
        self.stopped: Stop | None = None
        self.drawn: Counter[str] = Counter()
        self.draws: list[Draw] = []
        self.candidates: list[Candidate] = []
        self.passes = 0
        self.history: list[tuple[Event, ...] | Learnt] = []
        self._policy = policy
        self._budget = sampling.effective_budget
        self._counted: Counter[str] = (
            Counter()
        )  # draws handed out, and those decided on but not handed out yet
        self._numbers = {member.name: number for number, member in enumerate(sampling.members)}
        self._losses: Counter[str] = Counter()
        self._down: set[str] = set()
        self._target = 0
        self._wave = 0
        self._next_index = 0
        self._next_sample: Counter[str] = Counter()
        self._lost_samples: dict[str, list[int]] = {member.name: [] for member in sampling.members}
        self._decided: list[Draw] = []
        self._pending: set[int] = set()
        self._early: dict[int, Candidate] = {}
        self._repairing: set[int] = set()

    def step(self, events: Iterable[Event] = ()) -> tuple[Draw, ...] | Stop:
        """Applies events in order; returns the draws to start now, or the reason to stop.

        No draws are returned while a wave is under way. If nothing is under way either, every usable member is down:
        wait, then report `Revived`. Events after the stop change nothing.
        """
        events = tuple(events)
        if not self.stopped:
            self.history.append(events)
        for event in events:
            match event:
                case Candidate():
                    self._observe(event)
                case Lost(draw):
                    self._lost(draw)
                case Down(members):
                    self._down.update(members)
                case Revived():
                    self._down.clear()
                case Expired(unjudged):
                    self._expire(unjudged)
        draws = self._next_wave()
        return self.stopped or draws

    def _next_wave(self) -> tuple[Draw, ...]:
        self._decide()
        draws, self._decided = tuple(self._decided), []
        self.draws += draws
        self.drawn.update(draw.member for draw in draws)
        return draws

    def _observe(self, candidate: Candidate) -> None:
        self._pending.discard(candidate.draw.index)
        self._early[candidate.draw.index] = candidate
        self._take_in_order()
        self._stop_when_spent()

    def _lost(self, draw: Draw) -> None:
        self._undo(draw)
        self.drawn[draw.member] -= 1
        if draw.member not in self._down:  # an engine death loses all its draws but counts as a single loss
            self._down.add(draw.member)
            self._losses[draw.member] += 1
        self._take_in_order()
        self._stop_when_spent()

    def _expire(self, unjudged: Iterable[Candidate]) -> None:
        if not self.stopped:
            self._early |= {candidate.draw.index: candidate for candidate in unjudged}
            self._take(sorted(self._early))
            self._stop(Stop.DEADLINE)

    def select(self) -> list[Candidate]:
        """Every candidate that counts, best first."""
        return ranked(self.candidates, self.sampling.selector)

    def learn(self, evidence: Mapping[int, Evidence]) -> None:
        """What came to be known of candidates after the last draw, by the index of their draws, in place of what was known."""
        self.history.append(Learnt(dict(evidence)))
        self.candidates = [
            replace(candidate, evidence=evidence.get(candidate.draw.index, candidate.evidence))
            for candidate in self.candidates
        ]

    def _decide(self) -> None:
        """Decides on the next draws once most of the last wave has arrived."""
        if self.stopped:
            return
        waiting = len(self._pending) + len(self._early)
        if waiting <= int(_LATE * self._wave) and self._counted.total() >= self._target:
            self._target = self._next_target()
            self._wave = self._target - self._counted.total()
        samples = self._target - self._counted.total()
        if samples > 0:
            samples = min(samples, self._left())
        if samples <= 0:
            return
        draws = self._repair(samples)
        draws += self._draw_anew(samples - len(draws), waiting + len(draws))
        self._decided += draws

    def _repair(self, samples: int) -> list[Draw]:
        """Draws that repair failed candidates, at most `samples` of them."""
        if self.sampling.turns == 1:
            return []
        failed = [candidate for candidate in self._repairable() if candidate.draw.member not in self._down]
        dice = Random(mix(self.sampling.seed) ^ self._next_index)
        if self.sampling.greedy and not self._fresh_members():
            chosen = failed[:samples]  # nothing else to draw
        else:
            chosen = to_repair(failed, samples, self.sampling.router_state.turns, dice)
        self._repairing |= {candidate.draw.index for candidate in chosen}
        return self._new_draws([(candidate.draw.member, candidate.draw) for candidate in chosen])

    def _draw_anew(self, samples: int, waiting: int) -> list[Draw]:
        members = [member for member in self._fresh_members() if member.name not in self._down]
        if samples <= 0 or not members:
            return []
        state = self._policy_state(members)
        names = self._policy.allocate(samples, state)
        owed = min(samples, self.sampling.least - self._counted.total())
        if len(names) < owed:
            names = self._policy.allocate(owed, replace(state, price=0.0))
        if not names and not waiting:
            self._stop(Stop.COST)
        if names and self.sampling.prefer in (member.name for member in members):
            names = [self.sampling.prefer, *names[1:]]
        if self.sampling.greedy:
            names = list(dict.fromkeys(names))
        return self._new_draws([(name, None) for name in names])

    def _policy_state(self, members: Sequence[Member]) -> PolicyState:
        return PolicyState(
            members=members,
            everyone=self.sampling.members,
            drawn=self._counted,
            candidates=self.candidates,
            budget=self._budget,
            router_state=self.sampling.router_state,
            features=self.sampling.features,
            rotation=self.sampling.rotation,
            seed=self.sampling.seed,
            price=self.sampling.price,
        )

    def _fresh_members(self) -> list[Member]:
        """Members for first attempts, available now or after `Revived`."""
        return [
            member
            for member in self.sampling.members
            if self._losses[member.name] < GIVE_UP_AFTER
            and not (self.sampling.greedy and self._counted[member.name])
        ]

    def _repairable(self) -> list[Candidate]:
        """Failed candidates that their members may repair, now or after `Revived`."""
        if self.sampling.turns == 1:
            return []
        return [
            candidate
            for candidate in repairable(self.candidates, self.sampling.turns)
            if candidate.draw.index not in self._repairing
            and self._losses[candidate.draw.member] < GIVE_UP_AFTER
        ]

    def _left(self) -> int:
        """Samples that may still be drawn: limited by the budget and by what there is to draw."""
        left = self._budget - self._counted.total()
        fresh = self._fresh_members()
        if self.sampling.greedy:
            return min(left, len(fresh) + len(self._repairable()))
        return left if fresh else min(left, len(self._repairable()))

    def _next_target(self) -> int:
        """Samples drawn in all by the end of the next wave.

        All at once when no pass can stop it early; else one a member first, then as many again as the
        policy's growth says. Doubling keeps engines busy on hard problems, and on easy ones wastes at
        most as much again as was needed.
        """
        spent, wanted = self._counted.total(), self.sampling.stop_after_passes
        budget = spent + self._left()
        turns = self.sampling.turns > 1
        if wanted is None or (wanted >= budget and not turns):
            return budget
        first = self.sampling.first_wave or len(self.sampling.members)
        size = max(math.ceil(spent * self._policy.growth), first, wanted)
        if turns and not spent:
            # Leave part of the budget to repair the first failures.
            size = min(size, math.ceil(self._budget / 2))
        return min(budget, spent + size)

    def _new_draws(self, wanted: Sequence[tuple[str, Draw | None]]) -> list[Draw]:
        """wanted: a member's name each, with the draw that the new one repairs, if any."""
        samples = [self._next_sample_of(name, parent) for name, parent in wanted]
        numbers = [self._numbers[name] for name, _ in wanted]
        seeds = draw_seeds(self.sampling.seed, zip(numbers, samples, strict=True))
        draws = [
            Draw(
                index=index,
                member=name,
                sample=sample,
                seed=seed,
                turn=parent.turn + 1 if parent else 1,
                repairs=parent.index if parent else None,
            )
            for index, ((name, parent), sample, seed) in enumerate(
                zip(wanted, samples, seeds, strict=True), self._next_index
            )
        ]
        self._next_index += len(draws)
        self._pending.update(draw.index for draw in draws)
        self._counted.update(draw.member for draw in draws)
        return draws

    def _next_sample_of(self, name: str, parent: Draw | None) -> int:
        if self._lost_samples[name] and parent is None:
            # Draw a lost sample index again, so that a seeded request gets the same candidates.
            return self._lost_samples[name].pop(0)
        self._next_sample[name] += 1
        return self._next_sample[name] - 1

    def _undo(self, draw: Draw) -> None:
        self._pending.discard(draw.index)
        self._counted[draw.member] -= 1
        self._lost_samples[draw.member].append(draw.sample)
        if draw.repairs is not None:
            self._repairing.discard(draw.repairs)

    def _take_in_order(self) -> None:
        """Commits finished draws (in draw order when reproducible)."""
        first_open = self._next_index
        if self.sampling.reproducible:
            first_open = min(self._pending, default=first_open)
        self._take(sorted(index for index in self._early if index < first_open))

    def _take(self, indices: Sequence[int]) -> None:
        for index in indices:
            candidate = self._early.pop(index)
            if self.stopped:
                continue
            self.candidates.append(candidate)
            self.passes += candidate.accepted
            wanted = self.sampling.stop_after_passes
            if wanted is not None and self.passes >= wanted:
                self._stop(Stop.PASSES)
            elif self.sampling.reproducible and self.sampling.stop_after_passes is not None:
                # Decide after the same draw regardless of other arrivals, so that arrival order changes nothing.
                self._decide()

    def _stop_when_spent(self) -> None:
        if not (self.stopped or self._pending or self._early) and self._left() <= 0:
            self._stop(Stop.BUDGET)

    def _stop(self, reason: Stop) -> None:
        """Stops the session. Draws decided on but never handed out do not count as drawn."""
        if not self.stopped:
            self.stopped = reason
            for draw in self._decided:
                self._undo(draw)
            self._decided = []
