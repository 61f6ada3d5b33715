"""One budget over many problems, as a state machine: which problem gets the next sample, and of which member.

Unsolved problems advance in lockstep: the next sample goes to the problem with the fewest, so that no problem gets
its tenth attempt before another its ninth, and what looks hopeless comes last. A problem ends at a pass, and its
unused samples go to the others. With a price it also ends where its next sample is not worth its tokens. No I/O and no clock: the driver starts the draws that it receives and reports their
outcomes.

There is no smarter order, because nothing that was tried predicts, well enough to pay, which of two problems with
equally many failures is nearer to being solved: docs/router.md.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpharay.router.draw import MAX_SAMPLES_PER_MEMBER
from alpharay.router.learn.worth import expected_passes, samples_worth
from alpharay.router.schedule import SCHEDULED, greedy_schedule, next_turns

# What is learnt from the batch itself is recomputed when the outcomes have grown by this factor.
_CHOSEN_AGAIN = 1 / 8


@dataclass(frozen=True, slots=True)
class BatchDraw:
    """One sample to draw. problem: its index. sample: 0, 1, … among this member's samples of that problem."""

    problem: int
    member: str
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """budget: samples over all problems. passes: number of passes that closes a problem.

    schedule: the members of a problem's samples 1, 2, 3, …; empty: learnt from the batch itself.
    most_per_problem: limit of samples per problem; None: as many as there are seeds for. price: of a token, in solved
    problems; 0: tokens cost nothing.

    Raises ValueError: no members or no problems, a schedule that names an unknown member, or a price below 0.
    """

    members: tuple[str, ...]
    problems: int
    budget: int
    schedule: tuple[str, ...] = ()
    most_per_problem: int | None = None
    passes: int = 1
    price: float = 0.0

    def __post_init__(self) -> None:
        if not self.members or self.problems < 1:
            raise ValueError("a batch needs at least one member and one problem")
        for name in ("budget", "passes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.price) and self.price >= 0):
            raise ValueError(f"the price of a token must be a finite number >= 0, got {self.price}")
        if strangers := sorted(set(self.schedule) - set(self.members)):
            raise ValueError(f"the schedule names {strangers[0]!r}, which is no member of the batch")


@dataclass(slots=True)
class _State:
    """State of one problem. drawn: samples started of each member, those under way included."""

    drawn: Counter[str] = field(default_factory=Counter)
    free: dict[str, list[int]] = field(
        default_factory=dict
    )  # sample indices below `drawn` that are not in use
    under_way: int = 0
    finished: int = 0
    passes: int = 0
    failures: int = 0  # before the first pass
    closed: bool = False

    @property
    def begun(self) -> int:
        return self.finished + self.under_way


class Batch:
    """Ask `draws`, report each by `record` or `lost`, ask again; over when nothing is under way and none is returned.

    spent: samples started, including those recorded by `recall`. under_way: those of them that are not finished.
    solved: problems with a pass.
    """

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan
        self.spent = 0
        self.under_way = 0
        self.solved = 0
        self._states = [_State() for _ in range(plan.problems)]
        # (samples started, problem) of every problem that may be drawn now; stale entries are skipped when popped.
        self._waiting = [(0, problem) for problem in range(plan.problems)]
        shape = (plan.problems, len(plan.members))
        self._samples = np.zeros(shape, dtype=np.int64)
        self._passed = np.zeros(shape, dtype=np.int64)
        self._number = {name: number for number, name in enumerate(plan.members)}
        self._schedule = plan.schedule
        self._known = 0
        self._tokens = 0
        self._judged = self._priced = 0
        self._worth = math.inf  # samples of a problem that are worth their tokens

    @property
    def open(self) -> int:
        """Problems that may get more samples if the budget allows."""
        return sum(self._is_open(state) for state in self._states)

    def expected(self) -> float:
        """Problems that will be solved in the end, by what samples after as many failures came to in this batch."""
        if not self._judged:
            return 0.0
        failures, passed = _first_passes(self._states)
        is_open = np.array([self._is_open(state) for state in self._states], dtype=np.bool_)
        left = self.plan.budget - self.spent + self.under_way
        most = min(self.plan.most_per_problem or math.inf, self._worth)
        return self.solved + expected_passes(failures, passed, is_open & ~passed, left, most)

    @property
    def worth(self) -> float:
        """Samples of a problem that are worth their tokens, as far as is known; without a price all are."""
        return self._worth

    def draws(self, at_once: int) -> list[BatchDraw]:
        """The draws to start so that up to `at_once` are under way.

        A problem has at most as many draws under way as have failed before, so that a pass wastes at most half of its
        samples however few problems are left.
        """
        if self.plan.price:
            self._weigh()
        room = min(at_once - self.under_way, self.plan.budget - self.spent)
        chosen: list[BatchDraw] = []
        while self._waiting and len(chosen) < room:
            begun, problem = heapq.heappop(self._waiting)
            if begun == self._states[problem].begun and self._may_be_drawn(problem):
                draw = self._next(problem)
                if draw is not None:
                    chosen.append(draw)
        return chosen

    def record(self, draw: BatchDraw, passed: bool | None, tokens: int = 0) -> None:
        """Records the outcome of a draw under way. passed: None if it could not be judged, which counts neither way.

        tokens: that it took, of the prompt and the completion.
        """
        self._states[draw.problem].under_way -= 1
        self.under_way -= 1
        self._count(draw, passed, tokens)

    def recall(self, draw: BatchDraw, passed: bool | None, tokens: int = 0) -> None:
        """Records the outcome of a draw of an earlier run. Call it for all of them before the first `draws`."""
        state = self._states[draw.problem]
        free = state.free.setdefault(draw.member, [])
        if draw.sample < state.drawn[draw.member]:
            free.remove(draw.sample)
        else:
            free += range(state.drawn[draw.member], draw.sample)
            state.drawn[draw.member] = draw.sample + 1
        self.spent += 1
        self._count(draw, passed, tokens)

    def lost(self, draw: BatchDraw) -> None:
        """Records that a draw was lost: its sample returns to the budget."""
        state = self._states[draw.problem]
        state.under_way -= 1
        state.free.setdefault(draw.member, []).append(draw.sample)
        self.spent -= 1
        self.under_way -= 1
        self._wait(draw.problem)

    def close(self, problem: int) -> None:
        """Stops drawing samples of a problem, since it cannot be sampled."""
        self._states[problem].closed = True

    def _count(self, draw: BatchDraw, passed: bool | None, tokens: int) -> None:
        state = self._states[draw.problem]
        state.finished += 1
        self._tokens += tokens
        if passed is not None:
            self._judged += 1
            state.failures += not passed and not state.passes
            self.solved += passed and not state.passes
            state.passes += passed
            self._samples[draw.problem, self._number[draw.member]] += 1
            self._passed[draw.problem, self._number[draw.member]] += passed
        self._wait(draw.problem)

    def _wait(self, problem: int) -> None:
        """Queues a problem again after a change of its state; scanning all problems of a large batch would be slow."""
        if self._may_be_drawn(problem):
            heapq.heappush(self._waiting, (self._states[problem].begun, problem))

    def _may_be_drawn(self, problem: int) -> bool:
        state = self._states[problem]
        return self._is_open(state) and state.under_way < max(1, state.finished)

    def _is_open(self, state: _State) -> bool:
        most = self.plan.most_per_problem
        return (
            not state.closed
            and state.passes < self.plan.passes
            and (most is None or state.begun < most)
            and state.begun < self._worth
        )

    def _next(self, problem: int) -> BatchDraw | None:
        state = self._states[problem]
        had = Counter({name: state.drawn[name] - len(state.free.get(name, ())) for name in self.plan.members})
        drawable = [name for name in self.plan.members if had[name] < MAX_SAMPLES_PER_MEMBER]
        if not drawable:
            return None
        member = self._member(problem, drawable, had)
        if state.free.get(member):
            sample = min(state.free[member])
            state.free[member].remove(sample)
        else:
            sample = state.drawn[member]
            state.drawn[member] += 1
        state.under_way += 1
        self.under_way += 1
        self.spent += 1
        self._wait(problem)
        return BatchDraw(problem, member, sample)

    def _member(self, problem: int, drawable: list[str], had: Counter[str]) -> str:
        if not self.plan.schedule:
            if not had.total():
                # First samples rotate over members, so that the batch has data on every member from the start.
                return drawable[problem % len(drawable)]
            self._learn()
        turns = next_turns(self._schedule, drawable, had, 1)
        return turns[0] if turns else min(drawable, key=lambda name: had[name])

    def _weigh(self) -> None:
        """Learns how many samples of a problem are worth their tokens; not before most problems had a sample."""
        if self._judged < max(len(self._states) / 2, self._priced * (1 + _CHOSEN_AGAIN)):
            return
        self._priced = self._judged
        failures, passed = _first_passes([state for state in self._states if state.failures or state.passes])
        cost = self.plan.price * self._tokens / sum(state.finished for state in self._states)
        before, self._worth = self._worth, samples_worth(failures, passed, cost) if cost else math.inf
        if self._worth > before:
            for problem in range(len(self._states)):
                self._wait(problem)

    def _learn(self) -> None:
        known = int(self._samples.sum())
        if known >= max(1.0, self._known * (1 + _CHOSEN_AGAIN)):
            self._known = known
            turns = greedy_schedule(self._samples, self._passed, SCHEDULED)
            self._schedule = tuple(self.plan.members[number] for number in turns)


def _first_passes(states: Sequence[_State]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """[states] each: samples that failed before the first pass, or so far; and whether one passed."""
    failures = np.array([state.failures for state in states], dtype=np.int64)
    return failures, np.array([state.passes > 0 for state in states], dtype=np.bool_)
