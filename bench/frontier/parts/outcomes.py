"""Outcomes of problems of several parts: a file for each count of parts, and what they count to, prompt by prompt."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpharay.router.passk import pass_at_k
from alpharay.serve.evaluate.outcomes import SCHEMA, WEIGHTS, read_outcomes, read_table, write_outcomes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_HASH_DIGITS = 6  # of a program's: hashes are most of a file
CHOSEN_AT = 100  # samples at which the best point off the line is chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Samples and passes of one count of parts, [prompts, 2, members]: under low limits, then under high ones."""

    members: tuple[str, ...]
    samples: Ints
    solved: Ints

    def flat(self) -> tuple[Ints, Ints]:
        """(samples, solved), [problems, members]"""
        return tuple(each.reshape(-1, len(self.members)) for each in (self.samples, self.solved))

    def only(self, members: Sequence[str]) -> Counted:
        columns = [self.members.index(name) for name in members]
        return Counted(
            members=tuple(members), samples=self.samples[..., columns], solved=self.solved[..., columns]
        )


def path_of(folder: Path, seed: int, parts: int, name: str) -> Path:
    return folder / f"parts{parts}-seed{seed}-{name}.parquet"


def read(path: Path) -> Counted:
    """Raises SystemExit: some prompt lacks one of its two problems, or a problem samples of a member."""
    outcomes = read_outcomes(path)
    index_of = {name: number for number, name in enumerate(outcomes.problems)}
    prompts = sorted({name.rpartition("-")[0] for name in index_of})
    missing = [
        f"{name}-{limits}"
        for name in prompts
        for limits in ("low", "high")
        if f"{name}-{limits}" not in index_of
    ]
    if missing:
        raise SystemExit(f"{path} lacks {missing[0]}: gather outcomes of whole parts only")
    rows = np.array([[index_of[f"{name}-{limits}"] for limits in ("low", "high")] for name in prompts])
    counts = outcomes.counts
    if counts.samples.min() < 1:
        raise SystemExit(f"{path} has a problem without a sample of some member")
    return Counted(
        members=tuple(member.name for member in outcomes.members),
        samples=counts.samples[rows],
        solved=counts.solved[rows],
    )


def gather_parts(drawn: Path, folder: Path, seed: int, parts: int, name: str) -> str:
    """All `part-NNN.parquet` of one count of parts as its file; returns a line that says what was written."""
    columns: dict[str, list[Any]] = {field.name: [] for field in (*SCHEMA, WEIGHTS)}
    for file in sorted(drawn.glob("part-*.parquet")):
        for row in read_table(file).to_pylist():
            row["text_sha256"] = row["text_sha256"][:_HASH_DIGITS]
            for field, values in columns.items():
                values.append(row[field])
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, seed, parts, name)
    write_outcomes(path, columns)
    return f"{len(columns['problem'])} outcomes in {path}"


def keep_problems(raws: Sequence[dict[str, Any]], folder: Path, name: str) -> Path:
    """Writes the problems to `parts-NAME.jsonl.gz`: the same problems make the same file."""
    path = folder / f"parts-{name}.jsonl.gz"
    text = "".join(json.dumps(raw) + "\n" for raw in raws)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def best_off_the_line(folder: Path, seed: int, parts: int, names: Sequence[str]) -> str:
    """Of points off the line, that of which `CHOSEN_AT` samples solve most validation problems of that count of parts.

    Raises SystemExit: the validation problems have not been sampled.
    """
    path = path_of(folder, seed, parts, "validation")
    if not path.exists():
        raise SystemExit(f"the best point of the plane is chosen on {path}: evaluate --set validation first")
    counted = read(path).only(names)
    shares = pass_at_k(*counted.flat(), min(CHOSEN_AT, int(counted.samples.min()))).mean(axis=0)
    return names[int(shares.argmax())]
