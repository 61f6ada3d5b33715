"""Recorded outcomes in columns: audits count them, replays draw from them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from alpharay.judge.verdict import CORRECTNESS_FAILURES, EFFICIENCY_FAILURES, VerdictKind
from alpharay.router.draw import Member

VERDICTS = tuple(VerdictKind)
CODE = {kind: code for code, kind in enumerate(VERDICTS)}

# A problem counts even if up to this share of its samples is missing (for example, judge errors).
_MAY_MISS = 0.05

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """One row per sample. Rows of a problem and member are in sample order.

    problems, members: what the columns `problem` and `member` are indices into. A member off the line low..high has
    no alpha; an ordinary training checkpoint has no weights either.
    verdict: indices into VERDICTS. failed_level: of the first case that failed, -1 where there is none.
    seed: the engine's. cpu_s: CPU seconds of the slowest case. text_sha256: of the completion, hexadecimal.
    """

    problems: tuple[str, ...]
    members: tuple[Member, ...]
    problem: Ints
    member: Ints
    sample: Ints
    seed: Ints
    verdict: Ints
    failed_level: Ints
    passed: Ints
    total: Ints
    prompt_tokens: Ints
    completion_tokens: Ints
    cpu_s: Floats
    text_sha256: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.problem)

    def only(self, members: tuple[str, ...]) -> Self:
        """The rows of these members, in this order."""
        by_name = {member.name: number for number, member in enumerate(self.members)}
        new = np.full(len(self.members), -1)
        for index, name in enumerate(members):
            new[by_name[name]] = index
        rows = new[self.member] >= 0
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        kept = {name: column[rows] for name, column in columns.items() if isinstance(column, np.ndarray)}
        kept["member"] = new[kept["member"]]
        chosen = tuple(self.members[by_name[name]] for name in members)
        return type(self)(**{**columns, **kept, "members": chosen})

    @cached_property
    def counts(self) -> Counts:
        """Samples of every problem and member by outcome; judge errors are not counted as samples."""
        table = np.zeros((len(self.problems), len(self.members), len(VERDICTS)), dtype=np.int64)
        np.add.at(table, (self.problem, self.member, self.verdict), 1)

        def summed(kinds: frozenset[VerdictKind]) -> Ints:
            return np.asarray(table[..., [CODE[kind] for kind in kinds]].sum(axis=-1))

        judge_errors = table[..., CODE[VerdictKind.JUDGE_ERROR]]
        return Counts(
            samples=table.sum(axis=-1) - judge_errors,
            solved=table[..., CODE[VerdictKind.ACCEPTED]],
            incorrect=summed(CORRECTNESS_FAILURES),
            inefficient=summed(EFFICIENCY_FAILURES),
            judge_errors=judge_errors,
        )


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of samples, each of shape (problems, members). samples: excludes judge errors."""

    samples: Ints
    solved: Ints
    incorrect: Ints
    inefficient: Ints
    judge_errors: Ints

    @property
    def typical(self) -> Ints:
        """[members]: the samples that most problems have, as a lower median."""
        return np.asarray(np.sort(self.samples, axis=0)[(len(self.samples) - 1) // 2])

    @property
    def complete(self) -> NDArray[np.bool_]:
        """[problems]: whether every member has (nearly) as many samples of the problem as of most problems."""
        enough = self.samples >= np.maximum(1, np.ceil((1 - _MAY_MISS) * self.typical))
        return np.asarray(enough.all(axis=1))

    def at(self, problems: NDArray[np.bool_] | Ints) -> Counts:
        return Counts(**{field.name: getattr(self, field.name)[problems] for field in fields(self)})
