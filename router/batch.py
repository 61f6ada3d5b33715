"""One budget over many problems, as a state machine: which problem gets the next sample, and of which member.

Unsolved problems go in lockstep: the next sample goes to the one that has had the fewest, so that nobody's tenth
attempt comes before another's ninth, and what looks hopeless comes last. A problem ends at a pass, and what it has not
used goes to the others. No I/O and no clock: the driver starts the draws that it is given and says what came of them.

That is all there is to it, because nothing that was tried foretells which of two problems with equally many failures
is the nearer to being solved by enough to pay: docs/router.md.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from alpharay.router.schedule import SCHEDULED, greedy_schedule, next_turns
from alpharay.router.seeds import MAX_SAMPLES_PER_MEMBER

# A schedule of the batch's own is chosen again when so much more is known.
_CHOSEN_AGAIN = 1 / 8


@dataclass(frozen=True, slots=True)
class BatchDraw:
    """One sample that is to be drawn. problem: its number. sample: 0, 1, … among the member's of that problem."""

    problem: int
    member: str
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """budget: samples over all problems. passes: after which a problem gets no more.

    schedule: the members of a problem's samples 1, 2, 3, …; empty: it is learnt from the batch itself.
    most_per_problem: samples of one problem; None: as many as have seeds.

    Raises ValueError: nothing to draw from or for, or a schedule that names another member.
    """

    members: tuple[str, ...]
    problems: int
    budget: int
    schedule: tuple[str, ...] = ()
    most_per_problem: int | None = None
    passes: int = 1

    def __post_init__(self) -> None:
        if not self.members or self.problems < 1:
            raise ValueError("a batch needs at least one member and one problem")
        for name in ("budget", "passes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if strangers := sorted(set(self.schedule) - set(self.members)):
            raise ValueError(f"the schedule names {strangers[0]!r}, which is no member of the batch")


@dataclass(slots=True)
class _State:
    """Of one problem. drawn: samples begun of each member, those under way included."""

    drawn: Counter[str] = field(default_factory=Counter)
    free: dict[str, list[int]] = field(default_factory=dict)  # numbers below `drawn` that nobody has
    under_way: int = 0
    finished: int = 0
    passes: int = 0
    closed: bool = False

    @property
    def begun(self) -> int:
        return self.finished + self.under_way


class Batch:
    """Ask `draws`, report each by `record` or `lost`, ask again; over when nothing is under way and none is returned.

    spent: samples begun, those that `recall` was told of included. under_way: those of them that are not finished.
    solved: problems with a pass.
    """

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan
        self.spent = 0
        self.under_way = 0
        self.solved = 0
        self._states = [_State() for _ in range(plan.problems)]
        # (samples begun, problem) of every problem that may be drawn now, and entries that are out of date beside them.
        self._waiting = [(0, problem) for problem in range(plan.problems)]
        shape = (plan.problems, len(plan.members))
        self._samples = np.zeros(shape, dtype=np.int64)
        self._passed = np.zeros(shape, dtype=np.int64)
        self._number = {name: number for number, name in enumerate(plan.members)}
        self._schedule = plan.schedule
        self._known = 0

    @property
    def open(self) -> int:
        """Problems that may get more samples, were there budget enough."""
        return sum(self._is_open(state) for state in self._states)

    def draws(self, at_once: int) -> list[BatchDraw]:
        """The draws to start so that up to `at_once` are under way.

        Of a problem no more are under way than have come to nothing before, so that a pass wastes at most half of
        its samples however few problems are left.
        """
        room = min(at_once - self.under_way, self.plan.budget - self.spent)
        chosen: list[BatchDraw] = []
        while self._waiting and len(chosen) < room:
            begun, problem = heapq.heappop(self._waiting)
            if begun == self._states[problem].begun and self._may_be_drawn(problem):
                draw = self._next(problem)
                if draw is not None:
                    chosen.append(draw)
        return chosen

    def record(self, draw: BatchDraw, passed: bool | None) -> None:
        """What came of a draw under way. None: it could not be judged, which says nothing."""
        self._states[draw.problem].under_way -= 1
        self.under_way -= 1
        self._count(draw, passed)

    def recall(self, draw: BatchDraw, passed: bool | None) -> None:
        """What came of a draw of an earlier run. All of them are told before the first `draws`."""
        state = self._states[draw.problem]
        free = state.free.setdefault(draw.member, [])
        if draw.sample < state.drawn[draw.member]:
            free.remove(draw.sample)
        else:
            free += range(state.drawn[draw.member], draw.sample)
            state.drawn[draw.member] = draw.sample + 1
        self.spent += 1
        self._count(draw, passed)

    def lost(self, draw: BatchDraw) -> None:
        """The draw came to nothing: its sample goes back into the budget."""
        state = self._states[draw.problem]
        state.under_way -= 1
        state.free.setdefault(draw.member, []).append(draw.sample)
        self.spent -= 1
        self.under_way -= 1
        self._wait(draw.problem)

    def close(self, problem: int) -> None:
        """No more samples of it: it cannot be sampled."""
        self._states[problem].closed = True

    def _count(self, draw: BatchDraw, passed: bool | None) -> None:
        state = self._states[draw.problem]
        state.finished += 1
        if passed is not None:
            self.solved += passed and not state.passes
            state.passes += passed
            self._samples[draw.problem, self._number[draw.member]] += 1
            self._passed[draw.problem, self._number[draw.member]] += passed
        self._wait(draw.problem)

    def _wait(self, problem: int) -> None:
        """After every change of its state: a batch may have ten thousand problems, which are not all looked at again."""
        if self._may_be_drawn(problem):
            heapq.heappush(self._waiting, (self._states[problem].begun, problem))

    def _may_be_drawn(self, problem: int) -> bool:
        state = self._states[problem]
        return self._is_open(state) and state.under_way < max(1, state.finished)

    def _is_open(self, state: _State) -> bool:
        most = self.plan.most_per_problem
        return not state.closed and state.passes < self.plan.passes and (most is None or state.begun < most)

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
                # First samples go round, so that the batch tells of every member from the beginning.
                return drawable[problem % len(drawable)]
            self._learn()
        turns = next_turns(self._schedule, drawable, had, 1)
        return turns[0] if turns else min(drawable, key=lambda name: had[name])

    def _learn(self) -> None:
        known = int(self._samples.sum())
        if known >= max(1.0, self._known * (1 + _CHOSEN_AGAIN)):
            self._known = known
            turns = greedy_schedule(self._samples, self._passed, SCHEDULED)
            self._schedule = tuple(self.plan.members[number] for number in turns)
