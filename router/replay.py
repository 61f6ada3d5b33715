"""Replays policies on recorded outcomes: the server's own session, fed with recorded samples, without an engine.

Each problem is a request. Its draws are recorded samples in a random order without replacement, another order
for every seed. What a policy has learnt before a problem comes from other problems only: those of other folds, or
outcomes recorded for it to learn from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router.draw import Candidate, Member, mix
from alpharay.router.learn.learner import Learner
from alpharay.router.learn.logged_outcome import LoggedOutcome
from alpharay.router.learn.router_state import RouterState
from alpharay.router.outcomes import CODE, VERDICTS, Outcomes
from alpharay.router.policies import POLICIES
from alpharay.router.schedule import SCHEDULED, Recommendation, greedy_schedule
from alpharay.router.session import SamplingRequest, Session, Stop

FOLDS = 5
_NO_FOLD = -1
# Recorded samples per problem and member in the log that a policy learns from.
LEARNT_FROM = 16


class NotRecorded(ValueError):
    """A policy needs more samples of a member than were recorded; the message names the member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The results of one policy. All arrays have the shape (seeds, problems).

    solved: whether a sample passed. samples, tokens: of every draw that was started, prompts included.
    first_pass: samples that counted up to the first pass; 0 where none passed.
    """

    policy: str
    budget: int
    solved: NDArray[np.bool_]
    samples: NDArray[np.int64]
    tokens: NDArray[np.int64]
    first_pass: NDArray[np.int64]


class Replay:
    """Recorded outcomes to draw from.

    outcomes: their members are the frontier. Problems without a judged sample of every member are left out.
    features: returns the features of a problem's prompt, by problem id; None: no features. learnt_from: outcomes of
    other problems, with members of the same names; without it policies learn across folds.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        *,
        features: Callable[[str], Sequence[float]] | None = None,
        learnt_from: Outcomes | None = None,
    ) -> None:
        self._outcomes = outcomes
        self.members: tuple[Member, ...] = outcomes.members
        self._rows: dict[tuple[int, int], NDArray[np.int64]] = _grouped(outcomes)
        complete = outcomes.counts.complete
        self._problems = np.flatnonzero(complete)
        self.problems = tuple(outcomes.problems[number] for number in self._problems)
        self.left_out = int((~complete).sum())
        self._features = features or (lambda _: ())
        self._learnt_from = Replay(learnt_from, features=features) if learnt_from is not None else None
        self._fold = np.random.default_rng(0).permutation(len(self._problems)) % FOLDS
        self._standings: dict[int, RouterState] = {}

    def run(
        self, policy: str, budget: int, seeds: int, *, members: Sequence[Member] = (), price: float = 0.0
    ) -> Replayed:
        """Runs every problem with every seed. members: the members that the request names; empty: all.

        Raises NotRecorded.
        """
        shape = (seeds, len(self._problems))
        replayed = Replayed(
            policy=policy,
            budget=budget,
            solved=np.zeros(shape, dtype=np.bool_),
            samples=np.zeros(shape, dtype=np.int64),
            tokens=np.zeros(shape, dtype=np.int64),
            first_pass=np.zeros(shape, dtype=np.int64),
        )
        for seed in range(seeds):
            for index, problem in enumerate(self._problems):
                state = self.router_state(int(self._fold[index]))
                drawable = tuple(members) or self.members
                first_wave = state.portfolio.first_wave(member.name for member in drawable)
                sampling = SamplingRequest(
                    members=drawable,
                    first_wave=first_wave if policy == "portfolio" else 0,
                    budget=budget,
                    seed=mix(seed * len(self._problems) + index) >> 1,
                    stop_after_passes=1,
                    reproducible=True,
                    rotation=seed + index,
                    router_state=state,
                    features=tuple(self._features(self._outcomes.problems[problem])),
                    price=price,
                )
                session = Session(sampling, POLICIES[policy]())
                tokens = sum(
                    candidate.prompt_tokens + candidate.completion_tokens
                    for candidate in self._drive(session, int(problem))
                )
                replayed.solved[seed, index] = session.passes > 0
                replayed.samples[seed, index] = session.drawn.total()
                replayed.tokens[seed, index] = tokens
                passing = (
                    number for number, candidate in enumerate(session.candidates, 1) if candidate.accepted
                )
                replayed.first_pass[seed, index] = next(passing, 0)
        return replayed

    def router_state(self, fold: int) -> RouterState:
        """The state that a server would have learnt from the problems of the other folds."""
        if self._learnt_from is not None:
            return self._learnt_from.router_state(_NO_FOLD)
        if fold not in self._standings:
            learner = Learner()
            for row in self._log(np.flatnonzero(self._fold != fold)):
                learner.learn(row)
            learner.settle()
            portfolio = Recommendation(self._schedule(self._fold != fold))
            self._standings[fold] = replace(learner.router_state(), portfolio=portfolio)
        return self._standings[fold]

    def _schedule(self, chosen: NDArray[np.bool_]) -> tuple[str, ...]:
        """The schedule that an audit of those problems would recommend from all their samples; empty without
        problems.
        """
        if not chosen.any():
            return ()
        counts = self._outcomes.counts.at(self._problems[chosen])
        schedule = greedy_schedule(counts.samples, counts.solved, SCHEDULED)
        return tuple(self.members[member].name for member in schedule)

    def _log(self, chosen: NDArray[np.int64]) -> Iterator[LoggedOutcome]:
        """Recorded samples of those problems with members alternating, as in the log of a uniform policy."""
        for index in np.random.default_rng(1).permutation(chosen):
            problem = int(self._problems[index])
            name = self._outcomes.problems[problem]
            features = tuple(self._features(name))
            draw = 0
            for sample in range(LEARNT_FROM):
                for number, member in enumerate(self.members):
                    rows = self._rows[problem, number]
                    if sample < len(rows):
                        verdict, prompt, completion = self._at(int(rows[sample]))
                        yield LoggedOutcome(
                            request=name,
                            draw=draw,
                            member=member.name,
                            alpha=member.alpha,
                            weights=member.weights,
                            verdict=verdict.verdict,
                            passed=verdict.passed,
                            total=verdict.total,
                            prompt_tokens=prompt,
                            completion_tokens=completion,
                            features=features,
                        )
                        draw += 1

    def _drive(self, session: Session, problem: int) -> Iterator[Candidate]:
        """Yields every draw that the session starts, including those unfinished when it stops."""
        numbers = {member.name: number for number, member in enumerate(self.members)}
        order = {
            member.name: np.random.default_rng([session.sampling.seed, number]).permutation(
                self._rows[problem, number]
            )
            for member in session.sampling.members
            for number in (numbers[member.name],)
        }
        waiting: list[Candidate] = []
        events: list[Candidate] = []
        while not isinstance(draws := session.step(events), Stop):
            for draw in draws:
                rows = order[draw.member]
                if draw.sample >= len(rows):
                    raise NotRecorded(
                        f"a budget of {session.sampling.budget} asks for more than the {len(rows)} samples that were "
                        f"recorded of {draw.member!r} on the problem {self._outcomes.problems[problem]!r}; "
                        "lower the budget"
                    )
                verdict, prompt, completion = self._at(int(rows[draw.sample]))
                candidate = Candidate(
                    draw=draw, verdict=verdict, prompt_tokens=prompt, completion_tokens=completion
                )
                waiting.append(candidate)
                yield candidate
            events = [waiting.pop(0)]

    def _at(self, row: int) -> tuple[Verdict, int, int]:
        outcomes = self._outcomes
        verdict = Verdict(
            VERDICTS[outcomes.verdict[row]],
            int(outcomes.passed[row]),
            int(outcomes.total[row]),
            cpu_s=float(outcomes.cpu_s[row]),
        )
        return verdict, int(outcomes.prompt_tokens[row]), int(outcomes.completion_tokens[row])


def _grouped(outcomes: Outcomes) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Row indices of the judged samples, per (problem, member)."""
    judged = np.flatnonzero(outcomes.verdict != CODE[VerdictKind.JUDGE_ERROR])
    keys = outcomes.problem[judged] * len(outcomes.members) + outcomes.member[judged]
    order = np.argsort(keys, kind="stable")
    cuts = np.searchsorted(keys[order], np.arange(len(outcomes.problems) * len(outcomes.members) + 1))
    return {
        divmod(key, len(outcomes.members)): judged[order[cuts[key] : cuts[key + 1]]]
        for key in range(len(outcomes.problems) * len(outcomes.members))
    }
