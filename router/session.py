"""One request as a state machine: waves of draws, what came of them, when to stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from alpharay.router.draw import Candidate, Draw, Member
from alpharay.router.policies.base import Policy
from alpharay.router.seeds import draw_seed
from alpharay.router.selection import ranked
from alpharay.router.standing import Standing


class Stop(StrEnum):
    """Why no more samples are drawn."""

    PASSES = "passes"
    BUDGET = "budget"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one request asks of the frontier.

    budget: samples over all members, at least 1.
    stop_after_passes: accepted candidates after which nothing more is drawn; None when nothing is judged.
    greedy: sampling is deterministic, so that a member's second sample would repeat its first.
    reproducible: the caller gave the seed and expects the same candidates again. Outcomes then count
        in the order of the draws, not of their arrival: slower engines must not change the answer.
    rotation: differs from request to request; see `Policy.allocate`.
    """

    members: tuple[Member, ...]
    budget: int
    seed: int
    stop_after_passes: int | None = None
    greedy: bool = False
    reproducible: bool = False
    rotation: int = 0
    selector: str = "tests"
    standing: Standing = field(default_factory=Standing)

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("a request needs at least one member")
        if self.budget < 1:
            raise ValueError(f"the budget must be at least 1 sample, got {self.budget}")

    @property
    def effective_budget(self) -> int:
        """Samples worth drawing: one a member where more would only repeat it."""
        return min(self.budget, len(self.members)) if self.greedy else self.budget


# A member that failed this often within one request is not waited for any longer.
GIVE_UP_AFTER = 5


class Session:
    """Decides the draws of one request. No I/O and no clock: its driver has both.

    The driver starts the draws of `next_wave()`, reports each by `observe()` or `lost()`, asks again
    after every report, and is done once `stopped` is set.

    drawn: per member name, the samples started and not lost.
    candidates: those that count so far, in the order in which they came to count.
    """

    def __init__(self, ask: Ask, policy: Policy) -> None:
        self.ask = ask
        self.stopped: Stop | None = None
        self.drawn: Counter[str] = Counter()
        self.candidates: list[Candidate] = []
        self._policy = policy
        self._numbers = {member.name: number for number, member in enumerate(ask.members)}
        self._losses: Counter[str] = Counter()
        self._down: set[str] = set()
        self._target = 0
        self._next_index = 0
        self._next_sample: Counter[str] = Counter()
        self._lost_samples: dict[str, list[int]] = {member.name: [] for member in ask.members}
        self._pending: set[int] = set()
        self._early: dict[int, Candidate] = {}

    def next_wave(self) -> tuple[Draw, ...]:
        """The draws to start now; none while a whole wave is under way, or when no member can be drawn from."""
        if self.stopped:
            return ()
        if not self._pending and self.drawn.total() >= self._target:
            self._target = self._next_target()
        up = [member for member in self.ask.members if self._may_draw(member.name)]
        samples = self._target - self.drawn.total()
        if not up or samples <= 0:
            return ()
        names = self._policy.allocate(
            samples, up, self.drawn, rotation=self.ask.rotation, standing=self.ask.standing
        )
        if self.ask.greedy:
            names = list(dict.fromkeys(names))
        return tuple(self._draw(name) for name in names)

    def observe(self, candidate: Candidate) -> None:
        """Takes a finished draw. What comes after the stop does not change the answer."""
        self._pending.discard(candidate.draw.index)
        self._early[candidate.draw.index] = candidate
        self._take_in_order()
        self._stop_when_spent()

    def lost(self, draw: Draw) -> None:
        """A draw that our side failed to finish: its sample goes back into the budget.

        Its member is not drawn from again until `revive()`, and after GIVE_UP_AFTER losses never.
        """
        self._pending.discard(draw.index)
        self.drawn[draw.member] -= 1
        self._lost_samples[draw.member].append(draw.sample)
        if draw.member not in self._down:  # one death of an engine loses all that it had: that counts once
            self._down.add(draw.member)
            self._losses[draw.member] += 1
        self._take_in_order()
        self._stop_when_spent()

    def revive(self) -> None:
        """Members that lost a draw may be drawn from again."""
        self._down.clear()

    def expire(self, unjudged: Iterable[Candidate] = ()) -> None:
        """Time is up: what has been observed is all there is, and what was sampled but not judged in time."""
        if not self.stopped:
            self._early |= {candidate.draw.index: candidate for candidate in unjudged}
            self._take(sorted(self._early))
            self.stopped = self.stopped or Stop.DEADLINE

    @property
    def stalled(self) -> bool:
        """Samples are left and nothing is under way, but the members that could be drawn from are down."""
        return not (self.stopped or self._pending) and self.drawn.total() < self._budget()

    @property
    def passes(self) -> int:
        return sum(candidate.accepted for candidate in self.candidates)

    def select(self) -> list[Candidate]:
        """Every candidate that counts, best first."""
        return ranked(self.candidates, self.ask.selector)

    def _may_draw(self, name: str) -> bool:
        gone = self._losses[name] >= GIVE_UP_AFTER or name in self._down
        return not gone and not (self.ask.greedy and self.drawn[name])

    def _budget(self) -> int:
        """The effective budget, less what only members that were given up could have drawn."""
        given_up = {name for name, losses in self._losses.items() if losses >= GIVE_UP_AFTER}
        if len(given_up) == len(self.ask.members):
            return self.drawn.total()
        if self.ask.greedy:
            never = sum(not self.drawn[name] for name in given_up)
            return min(self.ask.effective_budget, len(self.ask.members) - never)
        return self.ask.effective_budget

    def _next_target(self) -> int:
        """Samples drawn in all by the end of the next wave.

        All at once when no pass can stop it early; else one a member first, then doubled each time.
        Doubling keeps engines busy on hard problems, and on easy ones wastes at most as much again
        as was needed.
        """
        spent, budget, wanted = self.drawn.total(), self._budget(), self.ask.stop_after_passes
        if wanted is None or wanted >= budget:
            return budget
        return min(budget, spent + max(spent, len(self.ask.members), wanted))

    def _draw(self, name: str) -> Draw:
        if self._lost_samples[name]:
            # What was lost never came to anything: drawing it again keeps a seeded answer the same.
            sample = self._lost_samples[name].pop(0)
        else:
            sample = self._next_sample[name]
            self._next_sample[name] += 1
        seed = draw_seed(self.ask.seed, self._numbers[name], sample)
        draw = Draw(index=self._next_index, member=name, sample=sample, seed=seed)
        self._next_index += 1
        self._pending.add(draw.index)
        self.drawn[name] += 1
        return draw

    def _take_in_order(self) -> None:
        """Lets count what has arrived; a reproducible request waits for the draws before it."""
        first_open = self._next_index
        if self.ask.reproducible:
            first_open = min(self._pending, default=first_open)
        self._take(sorted(index for index in self._early if index < first_open))

    def _take(self, indices: Sequence[int]) -> None:
        for index in indices:
            candidate = self._early.pop(index)
            if self.stopped:
                continue
            self.candidates.append(candidate)
            wanted = self.ask.stop_after_passes
            if wanted is not None and self.passes >= wanted:
                self.stopped = Stop.PASSES

    def _stop_when_spent(self) -> None:
        if not self.stopped and not self._pending and self.drawn.total() >= self._budget():
            self.stopped = Stop.BUDGET
