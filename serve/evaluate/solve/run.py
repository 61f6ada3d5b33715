"""Draws what a batch asks for, judges it and journals it, until the batch is over or its time is up."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alpharay.judge.verdict import VerdictKind
from alpharay.router.batch import Batch, BatchDraw
from alpharay.serve.evaluate.journal import Journal, Row
from alpharay.serve.evaluate.sampling import Drawn, JudgeClient, Plan, Run, Sampling, Tally
from alpharay.serve.evaluate.solve.report import SolvedFile

# What is expected is estimated again when the samples of this run have grown by this factor.
_ESTIMATED_AGAIN = 1.05


@dataclass(slots=True)
class Progress(Tally):
    """Of a batch. solved: problems with a pass. left: problems that may get more samples. problems: in all.

    expected: problems solved in the end, by estimate.
    """

    solved: int = 0
    expected: float = 0.0
    left: int = 0
    problems: int = 0

    def text(self, seconds: float) -> str:
        text = f"{self.solved} of {self.problems} problems solved, {self.done} of {self.total} samples"
        rate = self.drawn / seconds
        if self.drawn and self.left and self.done < self.total:
            text += f", {rate:.1f}/s, {self.left} open, about {self.expected:.0f} solved in the end"
        return text


class SolveRun(Run):
    """A run whose samples a `Batch` allocates. Outcomes already in the journal are recorded in it first."""

    def __init__(
        self,
        plan: Plan,
        engines: Sampling,
        judging: JudgeClient,
        journal: Journal,
        batch: Batch,
        solved: SolvedFile,
    ) -> None:
        """plan: its `samples` is 0, because the batch says what is drawn. batch: in the order of the plan's problems."""
        super().__init__(plan, engines, judging, journal)
        self._batch = batch
        self._members: Mapping[str, Drawn] = {member.name: member for member in plan.members}
        number = {problem.id: number for number, problem in enumerate(plan.problems)}
        passes: dict[str, tuple[str, int]] = {}
        tokens = journal.tokens
        for (problem, member, sample), passed in journal.solved.items():
            if problem in number and member in self._members:
                draw = BatchDraw(number[problem], member, sample)
                batch.recall(draw, passed, tokens[problem, member, sample])
                if passed:
                    passes.setdefault(problem, (member, sample))
        solved.settle(passes, batch.spent)
        self._solved = solved
        self._estimated = 0
        self.tally: Progress = Progress(
            total=max(batch.plan.budget, batch.spent), done=batch.spent, problems=len(plan.problems)
        )
        self._report()

    async def solve(self, show: Callable[[Tally], None], deadline_s: float = math.inf) -> None:
        """Until the batch is over. show: called about once a second.

        deadline_s: seconds after which nothing is begun any more, and what is under way is cancelled and not counted.
        Raises OutcomesError: an engine refuses a problem, or one cannot be reached again and again.
        """

        def reported(_: Tally) -> None:
            self._report()
            show(self.tally)

        keeper = asyncio.create_task(self._keep(reported))
        running: dict[asyncio.Task[Row], BatchDraw] = {}
        until = asyncio.get_running_loop().time() + deadline_s
        try:
            while True:
                for draw in self._batch.draws(self._plan.in_flight):
                    problem = self._plan.problems[draw.problem]
                    sample = self._outcome(self._members[draw.member], problem, draw.sample)
                    running[asyncio.create_task(sample)] = draw
                left = until - asyncio.get_running_loop().time()
                if not running or left <= 0:
                    break
                wait = None if math.isinf(left) else left
                done, _ = await asyncio.wait(running, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=lambda task: _order(running[task])):
                    self._take(running.pop(task), task.result())
        finally:
            for task, draw in running.items():
                task.cancel()
                self._batch.lost(draw)
            await asyncio.gather(*running, return_exceptions=True)
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            self._journal.publish()
            reported(self.tally)

    def _take(self, draw: BatchDraw, row: Row) -> None:
        self._journal.add(row)
        verdict = row["verdict"]
        passed = None if verdict == VerdictKind.JUDGE_ERROR else verdict == VerdictKind.ACCEPTED
        self._batch.record(draw, passed, row["prompt_tokens"] + row["completion_tokens"])
        if passed:
            self._solved.add(
                row["problem"], draw.member, draw.sample, self._batch.spent - self._batch.under_way
            )
        self.tally.drawn += 1
        self.tally.verdicts[verdict] += 1

    def _report(self) -> None:
        batch = self._batch
        self.tally.done = batch.spent - batch.under_way
        self.tally.solved, self.tally.left = batch.solved, batch.open
        if self.tally.drawn >= self._estimated * _ESTIMATED_AGAIN:
            self._estimated = max(1, self.tally.drawn)
            self.tally.expected = batch.expected()


def _order(draw: BatchDraw) -> tuple[int, str, int]:
    """So that outcomes that arrive together are told in one order, whatever the event loop's."""
    return draw.problem, draw.member, draw.sample
