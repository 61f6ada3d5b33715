"""A search with real engines: each round is an `eval` of the points that are left, into the search's own folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from alpharay.judge.limits import Limits
from alpharay.judge.problem import Problem
from alpharay.router import MAX_MEMBERS
from alpharay.router.search.halving import Draw, Search, SearchPlan, Subject
from alpharay.serve.config import Config
from alpharay.serve.evaluate.hosting import Hosting, hosted
from alpharay.serve.evaluate.journal import Journal, Key
from alpharay.serve.evaluate.sampling import Drawn, Plan, Run, Tally
from alpharay.serve.evaluate.search.members import Checkpoints, good_name, member_of, name_of, with_members
from alpharay.serve.evaluate.settings import check_settings, keep_settings
from alpharay.serve.span import NamedMember
from alpharay.serve.state.members import ServedMember

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
            return NamedMember(name=good_name(subject), weights={subject: 1.0})
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
    settings = {"seed": searched.seed, "options": dict(searched.options)}
    with Journal(searched.folder) as journal, _Engines(searched, say) as engines:
        check_settings(searched.folder, searched.problems_file, settings)
        while draws := search.draws():
            keys = _keys(searched, draws)
            solved = journal.solved
            known = {draw: key for draw, key in keys.items() if key in solved}
            if not known:
                subjects = list(dict.fromkeys(draw.subject for draw in draws))
                samples = 1 + max(draw.sample for draw in draws)
                say(
                    f"{len(subjects)} points, {samples} samples of each problem: {len(draws)} are to be drawn"
                )
                plan = _plan(searched, engines.drawn(subjects), samples)
                asyncio.run(_run(plan, engines.hosting, journal, set(keys.values()), tally, show))
                solved, known = journal.solved, keys
            for draw, key in known.items():
                search.record(draw, solved.get(key))  # None where the judge failed at it again and again
            tally.done = search.recorded
    return search


class _Engines:
    """The engines of a search: restarted only for points that those at hand do not have.

    An engine that moves over the span has every point that the search may reach, where so many can be served: it starts
    once. Under `adapters` each point takes room in the engine, so it starts twice: the first round adds points.
    """

    def __init__(self, searched: Searched, say: Say) -> None:
        self._searched = searched
        self._say = say
        self._stack = ExitStack()
        self._hosting: Hosting | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def drawn(self, subjects: Sequence[Subject]) -> list[Drawn]:
        """The members that stand for these points, served. Raises StartFailed and its kin."""
        names = [self._searched.name(subject) for subject in subjects]
        served = {member.name: member for member in self._hosting.members} if self._hosting else {}
        if not served.keys() >= set(names):
            self._stack.close()
            self._hosting = self._stack.enter_context(self._hosted(subjects))
            served = {member.name: member for member in self._hosting.members}
        self._keep_settings(served[name] for name in names)
        return [
            Drawn(served=name, name=name, alpha=served[name].alpha, weights=served[name].weights)
            for name in names
        ]

    @property
    def hosting(self) -> Hosting:
        """The engines at hand, and the judge."""
        assert self._hosting is not None
        return self._hosting

    def _hosted(self, subjects: Sequence[Subject]) -> AbstractContextManager[Hosting]:
        searched = self._searched
        plan = searched.plan
        reachable: tuple[Subject, ...] = tuple(dict.fromkeys((*subjects, *plan.reachable, *plan.baselines)))
        if searched.config.hosting == "adapters" or len(reachable) > MAX_MEMBERS:
            reachable = tuple(subjects)
        members = [searched.member(subject) for subject in reachable]
        config = with_members(searched.config, searched.checkpoints, members)
        return hosted(config, searched.address, self._say)

    def _keep_settings(self, members: Iterable[ServedMember]) -> None:
        searched = self._searched
        settings = {"seed": searched.seed, "options": dict(searched.options)}
        keep_settings(
            searched.folder,
            searched.problems_file,
            {member.name: {"checkpoint": member.sha256, **settings} for member in members},
        )


def _keys(searched: Searched, draws: Sequence[Draw]) -> dict[Draw, Key]:
    names = {subject: searched.name(subject) for subject in {draw.subject for draw in draws}}
    return {draw: (searched.problems[draw.problem].id, names[draw.subject], draw.sample) for draw in draws}


def _plan(searched: Searched, members: Sequence[Drawn], samples: int) -> Plan:
    judge = searched.config.judge
    return Plan(
        problems=searched.problems,
        members=members,
        samples=samples,
        limits=Limits(cpu_s=judge.time_limit_s, memory_mb=judge.memory_limit_mb),
        seed=searched.seed,
        options=searched.options,
        in_flight=searched.in_flight,
        one_by_one=searched.config.hosting != "adapters",
    )


async def _run(
    plan: Plan, hosting: Hosting, journal: Journal, wanted: set[Key], tally: Tally, show: Show
) -> None:
    """One round, shown as a part of the whole search."""
    done, drawn, verdicts = tally.done, tally.drawn, tally.verdicts.copy()

    def shown(of_round: Tally) -> None:
        tally.done, tally.drawn = done + of_round.drawn, drawn + of_round.drawn
        tally.verdicts = verdicts + of_round.verdicts
        show(tally)

    async with hosting.clients() as clients:
        await Run(plan, *clients, journal, wanted=wanted).run(shown)
