"""A batch from what is asked to its report, whichever engines and judge it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alpharay.judge.compare import any_digits
from alpharay.judge.limits import Limits
from alpharay.judge.problem import Problem
from alpharay.progress import ProgressLine
from alpharay.router.batch import Batch, BatchPlan
from alpharay.serve.errors import OutcomesError
from alpharay.serve.evaluate.journal import Journal
from alpharay.serve.evaluate.outcomes import read_outcomes
from alpharay.serve.evaluate.sampling import Drawn, JudgeClient, Plan, Sampling
from alpharay.serve.evaluate.saving import describe
from alpharay.serve.evaluate.settings import keep_settings
from alpharay.serve.evaluate.solve.report import SolvedFile, report
from alpharay.serve.evaluate.solve.run import SolveRun
from alpharay.serve.learn.rollouts.fields import Saving, hashes_of_tests
from alpharay.serve.portfolio_file import read_portfolio
from alpharay.serve.state.members import ServedMember


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the user asks for. budget: samples, those that the folder holds included. options: fields of every request.

    price: of a token, in solved problems.

    rollouts: what is kept of each sample to train on, `texts` or `logprobs` too; None: nothing.
    """

    file: Path
    problems: Sequence[Problem]
    out: Path
    budget: int
    most_per_problem: int | None
    passes: int
    deadline_s: float
    seed: int
    options: Mapping[str, Any]
    in_flight: int
    rollouts: str | None = None
    price: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Solving:
    """What it is done with. portfolio: a file with a schedule; None: it is learnt. limits: where a problem sets none."""

    members: Sequence[ServedMember]
    engines: Sampling
    judging: JudgeClient
    portfolio: Path | None = None
    limits: Limits = field(default_factory=Limits)


async def solve(wanted: Wanted, solving: Solving, journal: Journal, say: Callable[[str], None]) -> None:
    """Draws, judges and reports. journal: of `wanted.out`.

    Raises OutcomesError: the folder holds something else, or the engines refuse; ConfigError: the portfolio.
    """
    drawn = [
        Drawn(served=member.name, name=member.name, alpha=member.alpha, weights=member.weights)
        for member in solving.members
    ]
    names = tuple(member.name for member in drawn)
    if not names:
        raise OutcomesError("there is no member to draw from")
    schedule = read_portfolio(solving.portfolio, names).schedule if solving.portfolio else ()
    settings: dict[str, Any] = {"seed": wanted.seed, "options": dict(wanted.options)}
    saving = None
    if wanted.rollouts is not None:
        settings["rollouts"] = wanted.rollouts
        with any_digits():
            tests = hashes_of_tests(wanted.file)
        checkpoints = {member.name: member.sha256 for member in solving.members}
        saving = Saving(tests=tests, checkpoints=checkpoints, logprobs=wanted.rollouts == "logprobs")
    members = {member.name: {"checkpoint": member.sha256, **settings} for member in solving.members}
    keep_settings(wanted.out, wanted.file, members)
    if saving is not None:
        describe(wanted.out, "solve", say)
    batch = Batch(
        BatchPlan(
            members=names,
            problems=len(wanted.problems),
            budget=wanted.budget,
            schedule=schedule,
            most_per_problem=wanted.most_per_problem,
            passes=wanted.passes,
            price=wanted.price,
        )
    )
    plan = Plan(
        problems=wanted.problems,
        members=drawn,
        samples=0,
        limits=solving.limits,
        seed=wanted.seed,
        options=wanted.options,
        in_flight=wanted.in_flight,
        saving=saving,
    )
    solved = SolvedFile(wanted.out)
    run = SolveRun(plan, solving.engines, solving.judging, journal, batch, solved)
    if batch.spent:
        say(f"{batch.spent} samples are there already, {batch.solved} problems are solved")
    try:
        with ProgressLine(every_s=30) as line:
            await run.solve(
                lambda tally: line.show(tally.done, tally.total, lambda: tally.text(line.seconds)),
                wanted.deadline_s,
            )
            line.end(run.tally.text(line.seconds))
    finally:
        solved.close()
    if journal.path.exists():
        text = report(
            read_outcomes(journal.path),
            [problem.id for problem in wanted.problems],
            solved.samples,
            wanted.budget,
            wanted.most_per_problem,
            batch.worth,
        )
        (wanted.out / "report.md").write_text(text, encoding="utf-8")
        say(f"written: {wanted.out / 'report.md'}, {solved.path}, {journal.path}")
