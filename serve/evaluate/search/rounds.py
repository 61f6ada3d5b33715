"""A search against real engines: each round is an `eval` of the points that are left, into the search's own folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alpharay.judge.limits import Limits
from alpharay.judge.problem import Problem
from alpharay.router.search.halving import Draw, Search, SearchPlan, Subject
from alpharay.serve.config import Config
from alpharay.serve.evaluate.hosting import hosted
from alpharay.serve.evaluate.journal import Journal, Key
from alpharay.serve.evaluate.sampling import Drawn, Plan, Run, Tally
from alpharay.serve.evaluate.search.members import Checkpoints, member_of, name_of, with_members
from alpharay.serve.evaluate.settings import keep_settings
from alpharay.serve.span import NamedMember

Say = Callable[[str], None]
Show = Callable[[Tally], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What is searched.

    names: of the checkpoints that points are made of, in the order of a point's weights. checkpoints: those, and the
    baselines. problems: as `problems_file` holds them. options: fields of every request, such as temperature.
    """

    config: Config
    plan: SearchPlan
    names: tuple[str, ...]
    checkpoints: Checkpoints
    problems: Sequence[Problem]
    problems_file: Path
    folder: Path
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    in_flight: int = 128
    address: str | None = None

    def member(self, subject: Subject) -> float | NamedMember:
        """The member that stands for a point, or for a baseline, which is a checkpoint."""
        if isinstance(subject, str):
            return NamedMember(name=subject, weights={subject: 1.0})
        return member_of(subject, self.names)

    def name(self, subject: Subject) -> str:
        """`frontier@0.5`"""
        return name_of(self.member(subject), self.config.name)


def run_search(searched: Searched, say: Say, show: Show) -> Search:
    """Until nothing is left to draw. What the folder holds already is not drawn again, after a kill either.

    say: one line a round. show: how far the whole search is, about once a second.

    Raises OutcomesError: a problem is refused, or an engine cannot be reached. Raises StartFailed and its kin.
    """
    search = Search(searched.plan)
    tally = Tally(total=searched.plan.total, done=0)
    with Journal(searched.folder) as journal:
        while draws := search.draws():
            keys = _keys(searched, draws)
            solved = journal.solved
            known = {draw: key for draw, key in keys.items() if key in solved}
            if not known:
                _round(searched, draws, journal, tally, say, show)
                solved, known = journal.solved, keys
            for draw, key in known.items():
                search.tell(draw, solved.get(key))  # None where the judge failed at it again and again
            tally.done = search.told
    return search


def _keys(searched: Searched, draws: Sequence[Draw]) -> dict[Draw, Key]:
    names = {subject: searched.name(subject) for subject in {draw.subject for draw in draws}}
    return {draw: (searched.problems[draw.problem].id, names[draw.subject], draw.sample) for draw in draws}


def _round(
    searched: Searched, draws: Sequence[Draw], journal: Journal, tally: Tally, say: Say, show: Show
) -> None:
    """Draws and judges these. They are of the same number of samples for each subject, less what was drawn before."""
    subjects = list(dict.fromkeys(draw.subject for draw in draws))
    samples = 1 + max(draw.sample for draw in draws)
    say(f"{len(subjects)} points, {samples} samples of each problem: {len(draws)} are to be drawn")
    members = [searched.member(subject) for subject in subjects]
    config = with_members(searched.config, searched.checkpoints, members)
    with hosted(config, searched.address, say) as hosting:
        settings = {"seed": searched.seed, "options": dict(searched.options)}
        keep_settings(
            searched.folder,
            searched.problems_file,
            {member.name: {"checkpoint": member.sha256, **settings} for member in hosting.members},
        )
        plan = Plan(
            problems=searched.problems,
            members=[
                Drawn(served=member.name, name=member.name, alpha=member.alpha, weights=member.weights)
                for member in hosting.members
            ],
            samples=samples,
            limits=Limits(cpu_s=config.judge.time_limit_s, memory_mb=config.judge.memory_limit_mb),
            seed=searched.seed,
            options=searched.options,
            in_flight=searched.in_flight,
            one_by_one=config.hosting == "shift",
        )
        done, drawn, verdicts = tally.done, tally.drawn, tally.verdicts.copy()

        def shown(of_round: Tally) -> None:
            tally.done, tally.drawn = done + of_round.drawn, drawn + of_round.drawn
            tally.verdicts = verdicts + of_round.verdicts
            show(tally)

        run = Run(plan, hosting.engines, hosting.judging, journal)
        asyncio.run(run.run(shown))
