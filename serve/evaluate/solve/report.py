"""What a batch came to: solved.jsonl while it runs, report.md at its end."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from alpharay.router.learn.expected import expected_uniform
from alpharay.router.learn.logged_outcome import OutcomeClass
from alpharay.router.outcomes import VERDICTS, Outcomes
from alpharay.serve.evaluate.report import table

Ints = NDArray[np.int64]
_MOST_NAMED = 50


class SolvedFile:
    """`solved.jsonl`: a line for each problem at its first pass, with the samples of the whole batch until then."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "solved.jsonl"
        self._lines: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            for text in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    line = json.loads(text)
                    self._lines[line["problem"]] = {**line, "samples": int(line["samples"])}
                except (ValueError, KeyError, TypeError):
                    continue  # cut off by a kill
        self._file: TextIO | None = None

    def settle(self, passes: dict[str, tuple[str, int]], samples: int) -> None:
        """Makes it agree with the journal, which a kill may have left ahead of it or behind.

        passes: of each solved problem a member and the number of its sample. samples: of the batch so far.
        """
        self._lines = {name: line for name, line in self._lines.items() if name in passes}
        for name, (member, sample) in passes.items():
            self._lines.setdefault(
                name, {"problem": name, "samples": samples, "member": member, "sample": sample}
            )
        part = self.path.with_suffix(".tmp")
        part.write_text("".join(json.dumps(line) + "\n" for line in self._lines.values()), encoding="utf-8")
        part.replace(self.path)

    def add(self, problem: str, member: str, sample: int, samples: int) -> None:
        """At a problem's pass; later ones of the same problem are none of its business."""
        if problem in self._lines:
            return
        self._lines[problem] = {"problem": problem, "samples": samples, "member": member, "sample": sample}
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(json.dumps(self._lines[problem]) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def samples(self) -> list[int]:
        """Of the batch until each first pass, rising."""
        return sorted(line["samples"] for line in self._lines.values())


def report(
    outcomes: Outcomes,
    problems: Sequence[str],
    solved_after: Sequence[int],
    budget: int,
    most: int | None,
    worth: float = math.inf,
) -> str:
    """`report.md`. problems: all of the batch, drawn from or not. solved_after: `SolvedFile.samples`.

    worth: samples of a problem that are worth their tokens at the price; inf without one.
    """
    counts = _counts(outcomes, problems)
    spent, passes = counts.sum(axis=(1, 2)), counts[:, :, OutcomeClass.SOLVED].sum(axis=1)
    samples, solved = int(spent.sum()), int((passes > 0).sum())
    totals = _totals(samples, len(problems))
    uniform = expected_uniform(outcomes.members, counts, totals, most)
    tokens = int(outcomes.prompt_tokens.sum() + outcomes.completion_tokens.sum())
    by_then = [int(np.searchsorted(solved_after, total, side="right")) for total in totals[:-1]] + [solved]
    unsolved = [(problems[index], int(spent[index])) for index in np.flatnonzero(passes == 0)]
    parts = [
        "# What a budget solved",
        (
            f"**{solved} of {len(problems)} problems solved with {samples} of {budget} samples**, {tokens:,} tokens. "
            f"Uniform sampling that stops at a pass too would solve {uniform[-1]:.0f} with as many, by estimate."
        ),
        "## Solved, by samples over all problems",
        table(
            ["samples", "solved", "uniform, estimated"],
            [
                [f"{total}", f"{count}", f"{other:.0f}"]
                for total, count, other in zip(totals, by_then, uniform, strict=True)
            ],
        ),
        (
            "*Uniform*: every unsolved problem has a sample in turn, of each member equally often, until it passes. Its figures "
            "are those that the router's model expects after all that was drawn here; it drew nothing itself."
        ),
        "## Members",
        table(
            ["member", "samples", "passed", "problems solved"],
            [
                [
                    f"`{member.name}`",
                    f"{counts[:, column].sum()}",
                    f"{counts[:, column, OutcomeClass.SOLVED].sum()}",
                    f"{(counts[:, column, OutcomeClass.SOLVED] > 0).sum()}",
                ]
                for column, member in enumerate(outcomes.members)
            ],
        ),
    ]
    if math.isfinite(worth):
        sentence = f"At the price, a problem's first {worth:.0f} samples are worth their tokens, going by all that was drawn."
        parts.insert(2, sentence)
    if unsolved:
        rest = f", and {len(unsolved) - _MOST_NAMED} more" if len(unsolved) > _MOST_NAMED else ""
        named = ", ".join(f"`{name}` ({count})" for name, count in unsolved[:_MOST_NAMED])
        parts += ["## Not solved, with the samples of each", f"{named}{rest}."]
    return "\n\n".join(parts) + "\n"


def _counts(outcomes: Outcomes, problems: Sequence[str]) -> Ints:
    """[problems, members, OutcomeClass]; what the judge could not judge counts neither way."""
    number = {name: index for index, name in enumerate(problems)}
    problem = np.array([number.get(name, -1) for name in outcomes.problems], dtype=np.int64)[outcomes.problem]
    classes = [OutcomeClass.of(kind) for kind in VERDICTS]
    kind = np.array([-1 if each is None else each for each in classes], dtype=np.int64)[outcomes.verdict]
    counts = np.zeros((len(problems), len(outcomes.members), len(OutcomeClass)), dtype=np.int64)
    rows = (problem >= 0) & (kind >= 0)
    np.add.at(counts, (problem[rows], outcomes.member[rows], kind[rows]), 1)
    return counts


def _totals(samples: int, problems: int) -> list[int]:
    """1, 2, 5, 10, … samples a problem, and all."""
    steps = [round(step * 10**power) for power in range(5) for step in (1, 2, 5)]
    return [*sorted({step * problems for step in steps if step * problems < samples}), samples]
