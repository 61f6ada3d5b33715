"""A batch over recorded outcomes: the router's own state machine, fed with recorded samples in a random order."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alpharay.router.batch import Batch, BatchDraw, BatchPlan
from alpharay.router.learn.learner import Learner
from alpharay.router.learn.router_state import RouterState
from alpharay.router.outcomes import Outcomes
from alpharay.router.replay import Replay
from alpharay.router.schedule import SCHEDULED, Recommendation, greedy_schedule
from alpharay.serve.evaluate.outcomes import read_outcomes
from alpharay.serve.portfolio_file import read_portfolio
from bench.solve.curves import NEVER, Curves, Floats, Ints, cell, compared, of_first_passes

FRONTIER = Path(__file__).parents[1] / "results" / "frontier"
EMBEDDED = Path(__file__).parents[2] / "serve" / "embedded"
TOTALS = (1, 2, 5, 10, 20, 50)
# Budgets of single requests, between which their curve is a straight line.
BUDGETS = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 56, 80, 110, 150, 200, 250)
STEP = 1 / 8
UNDER_WAY = 128  # the command's own `--in-flight`


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Outcomes to draw from, and where the schedule over their members comes from: `portfolio`, or other outcomes.

    members: of the outcomes; empty: all.
    """

    title: str
    test: Path
    members: tuple[str, ...] = ()
    portfolio: Path | None = None
    validation: Path | None = None

    def read(self) -> Outcomes:
        outcomes = read_outcomes(self.test)
        return outcomes.only(self.members) if self.members else outcomes

    def schedule(self, names: Sequence[str]) -> tuple[str, ...]:
        if self.portfolio is not None:
            return read_portfolio(self.portfolio, names).schedule
        assert self.validation is not None
        counts = read_outcomes(self.validation).only(tuple(names)).counts
        return tuple(names[member] for member in greedy_schedule(counts.samples, counts.solved, SCHEDULED))


_PARTS = ("frontier@0", "frontier@0.5", "frontier@1")
RECORDED = (
    Recorded(
        title="Contest, the five members that are served, their schedule (192 test problems)",
        test=FRONTIER / "seed1-served.parquet",
        portfolio=EMBEDDED / "portfolio.yaml",
    ),
    Recorded(
        title="Contest, nine alphas of the line, the schedule of 48 validation problems (96 test problems)",
        test=FRONTIER / "seed1-test.parquet",
        validation=FRONTIER / "seed1-validation.parquet",
    ),
    *(
        Recorded(
            title=f"Parts, {count}: three members, the schedule of 28 validation problems (160 test problems)",
            test=FRONTIER / f"parts{number}-seed1-test.parquet",
            members=_PARTS,
            validation=FRONTIER / f"parts{number}-seed1-validation.parquet",
        )
        for number, count in enumerate(("one a program", "two a program", "three a program"), 1)
    ),
)


class Samples:
    """The recorded samples of each problem and member, in the order in which one run draws them."""

    def __init__(self, outcomes: Outcomes, run: int) -> None:
        rng = np.random.default_rng(run)
        accepted = outcomes.counts  # what is complete and judged
        self.problems = np.flatnonzero(accepted.complete)
        self.ids = [outcomes.problems[problem] for problem in self.problems]
        self.drawn: Ints = accepted.samples[self.problems]  # [problems, members]
        self.names = tuple(member.name for member in outcomes.members)
        self._passed = [
            [
                rng.permutation(np.arange(accepted.samples[p, m]) < accepted.solved[p, m])
                for m in range(len(self.names))
            ]
            for p in self.problems
        ]

    @property
    def fewest(self) -> int:
        return min(len(passed) for row in self._passed for passed in row)

    def passes(self, first: int | None) -> Ints:
        """[problems, members]: passes among each member's first samples; None: among all."""
        return np.array([[passed[:first].sum() for passed in row] for row in self._passed])

    def first(self, schedule: Sequence[str], levels: int) -> Ints:
        """[problems]: the samples of each at its first pass along the schedule."""
        turns: list[tuple[int, int]] = []
        had: Counter[int] = Counter()
        for name in schedule[:levels]:
            member = self.names.index(name)
            turns.append((member, had[member]))
            had[member] += 1
        first = np.full(len(self.problems), NEVER)
        for problem in range(len(first)):
            first[problem] = next(
                (count for count, turn in enumerate(turns, 1) if self.passed(problem, *turn)), NEVER
            )
        return first

    def passed(self, problem: int, member: int, sample: int) -> bool:
        return bool(self._passed[problem][member][sample])


def batch(samples: Samples, schedule: Sequence[str], levels: int, at_once: int) -> tuple[Ints, Ints]:
    """([times, problems] samples begun, [times, problems] whether solved), at each `STEP` of a sample a problem.

    schedule: empty: learnt from the batch. at_once: samples under way; the longest under way ends first.
    """
    problems = len(samples.problems)
    plan = BatchPlan(
        members=samples.names,
        problems=problems,
        budget=levels * problems,
        schedule=tuple(schedule),
        most_per_problem=levels,
    )
    allocation, number = Batch(plan), {name: index for index, name in enumerate(samples.names)}
    begun, solved = np.zeros(problems, dtype=np.int64), np.zeros(problems, dtype=np.int64)
    times = [(begun.copy(), solved.copy())]
    under_way: deque[BatchDraw] = deque()
    while True:
        for draw in allocation.draws(at_once):
            under_way.append(draw)
            begun[draw.problem] += 1
        if begun.sum() >= len(times) * STEP * problems or not under_way:
            times.append((begun.copy(), solved.copy()))
        if not under_way:
            return np.stack([time[0] for time in times]), np.stack([time[1] for time in times])
        draw = under_way.popleft()
        passed = samples.passed(draw.problem, number[draw.member], draw.sample)
        allocation.record(draw, passed)
        solved[draw.problem] |= passed


def batches(drawn: Sequence[Samples], schedule: Sequence[str], levels: int, at_once: int) -> Curves:
    """The means over runs; one that is over early stays as it ended."""
    runs = [batch(samples, schedule, levels, at_once) for samples in drawn]
    longest = max(len(begun) for begun, _ in runs)
    begun, solved = (
        np.mean(
            [np.pad(run[part], ((0, longest - len(run[part])), (0, 0)), mode="edge") for run in runs], axis=0
        )
        for part in (0, 1)
    )
    return Curves(solved=solved, samples=begun)


def uniform(samples: Samples, levels: int, run: int) -> Ints:
    """[problems]: every member in turn until a pass, sample by sample; problems begin with different members."""
    members = len(samples.names)
    first = np.full(len(samples.problems), NEVER)
    for problem in range(len(first)):
        turns = ((problem + run + position) % members for position in range(levels))
        for position, member in enumerate(turns):
            if samples.passed(problem, member, position // members):
                first[problem] = position + 1
                break
    return first


class Requests(Replay):
    """Each problem as a request of its own, by the policy `portfolio` with that schedule."""

    def __init__(self, outcomes: Outcomes, schedule: Sequence[str]) -> None:
        super().__init__(outcomes)
        self._state = replace(Learner().router_state(), portfolio=Recommendation(tuple(schedule)))

    def router_state(self, fold: int) -> RouterState:  # noqa: ARG002 - nothing is learnt
        return self._state

    def curves(self, levels: int, runs: int) -> Curves:
        budgets = [budget for budget in BUDGETS if budget <= levels]
        solved: list[Floats] = [np.zeros(len(self.problems))]
        samples: list[Floats] = [np.zeros(len(self.problems))]
        for budget in budgets:
            replayed = self.run("portfolio", budget, runs)
            solved.append(replayed.solved.mean(axis=0))
            samples.append(replayed.samples.mean(axis=0))
        return Curves(solved=np.maximum.accumulate(solved), samples=np.maximum.accumulate(samples))


def table(recorded: Recorded, runs: int) -> str:
    """Markdown: per total of samples a problem, what each way solves and what it takes for what uniform solves."""
    outcomes = recorded.read()
    schedule = recorded.schedule([member.name for member in outcomes.members])
    drawn = [Samples(outcomes, run) for run in range(runs)]
    levels = min(BUDGETS[-1], drawn[0].fewest)
    even = of_first_passes(np.stack([uniform(s, levels, run) for run, s in enumerate(drawn)]), levels)
    ways = {
        "`solve`, the schedule": batches(drawn, schedule, levels, 1),
        f"the same, {UNDER_WAY} under way": batches(drawn, schedule, levels, UNDER_WAY),
        "`solve`, a schedule learnt from the batch": batches(drawn, (), levels, 1),
        "each request by `portfolio`": Requests(outcomes, schedule).curves(levels, runs),
    }
    base = [compared(even, even, total) for total in TOTALS]
    head = ["", *(f"{total} a problem" for total, known in zip(TOTALS, base, strict=True) if known)]
    totals = [total for total, known in zip(TOTALS, base, strict=True) if known]
    rows = [["`uniform`, stopping at a pass", *(f"{100 * known.solved:.1f}" for known in base if known)]]
    rows += [
        [name, *(cell(compared(curves, even, total)) for total in totals)] for name, curves in ways.items()
    ]
    lines = [head, ["---"] * len(head), *rows]
    return f"### {recorded.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(runs: int) -> str:
    return "\n\n".join(itertools.chain(table(recorded, runs) for recorded in RECORDED))
