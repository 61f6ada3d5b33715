"""Outcomes on their way to the Parquet file: a line each, safe on disk about once a second.

A Parquet file cannot be added to in place. So rows go to a journal beside it, and from there into the file, which
is replaced whole; only then is the journal emptied. Whenever the process is killed, the two together hold every
row that was told to be safe, and a row that is in both counts once. A row's rollout is in the same line, and goes to
the Parquet files of `rollouts/` before the row goes to its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from alpharay.judge.verdict import VerdictKind
from alpharay.serve.errors import OutcomesError
from alpharay.serve.evaluate.outcomes import read_table, write_outcomes
from alpharay.serve.learn.rollouts.outcome import SCHEMA, WEIGHTS
from alpharay.serve.learn.rollouts.parts import Parts

Row = dict[str, Any]
Key = tuple[str, str, int]

# Under this name a row carries the fields of its rollout, where it has one.
ROLLOUT = "rollout"
_LARGE_BYTES = 64 << 20


class Journal:
    """The outcomes of one folder, open for one process; threads may share it.

    Raises OutcomesError: another process writes there, or a file there cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outcomes.parquet"
        self._lines = folder / "outcomes.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / ".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutcomesError(
                f"another process of alpharay is writing to {folder}; wait for its end, or use another --out"
            ) from None
        except OSError as error:
            raise OutcomesError(f"{folder} cannot be written: {error.strerror}") from error
        self._rollouts = Parts(folder / "rollouts")
        self._rows: dict[Key, Row] = {}
        if self.path.exists():
            self._take(read_table(self.path).to_pylist())
        self._take(_whole_lines(self._lines))
        self._waiting: list[Row] = []
        self._adding = threading.Lock()
        self._writing = threading.RLock()
        self._file = self._lines.open("a", encoding="utf-8")
        # A line that was cut off by a kill must not swallow the next one.
        self._compact()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def done(self) -> set[Key]:
        """(problem, member, sample) of every row there is. Those that the judge itself failed at are to be redone."""
        return set(self.solved)

    @property
    def large(self) -> bool:
        """Whether the journal holds so much that it should be published."""
        return self._file.tell() > _LARGE_BYTES

    @property
    def solved(self) -> dict[Key, bool]:
        """Whether each sample of `done` was accepted, in the order of the file."""
        return {
            key: row["verdict"] == VerdictKind.ACCEPTED
            for key, row in self._rows.items()
            if row["verdict"] != VerdictKind.JUDGE_ERROR
        }

    @property
    def tokens(self) -> dict[Key, int]:
        """Of the prompt and the completion of each sample."""
        return {key: row["prompt_tokens"] + row["completion_tokens"] for key, row in self._rows.items()}

    def add(self, row: Row) -> None:
        """Takes a row; it is safe after the next `flush`."""
        with self._adding:
            self._waiting.append(row)

    def flush(self) -> None:
        """Brings what was added to the disk."""
        with self._writing:
            with self._adding:
                rows, self._waiting = self._waiting, []
            if rows:
                self._file.write("".join(json.dumps(row) + "\n" for row in rows))
                self._file.flush()
                os.fsync(self._file.fileno())
                self._take(rows)

    def publish(self) -> None:
        """Rewrites the Parquet file with all flushed rows."""
        with self._writing:
            self.flush()
            self._compact()

    def close(self) -> None:
        self.publish()
        self._file.close()
        if not self._lines.stat().st_size:
            self._lines.unlink()
        self._lock.close()

    def _take(self, rows: Iterable[Row]) -> None:
        for row in rows:
            outcome = {name: value for name, value in row.items() if name != ROLLOUT}
            self._rows[row["problem"], row["member"], row["sample"]] = outcome

    def _compact(self) -> None:
        if not self._lines.stat().st_size:
            self._rollouts.settle()
            return
        # A sample that the judge itself failed at is drawn again, and has its rollout then.
        self._rollouts.append(
            {**row, **row[ROLLOUT]}
            for row in _whole_lines(self._lines)
            if row.get(ROLLOUT) is not None and row["verdict"] != VerdictKind.JUDGE_ERROR
        )
        ordered = [self._rows[key] for key in sorted(self._rows)]
        if ordered:
            write_outcomes(
                self.path,
                {name: [row.get(name) for row in ordered] for name in (*SCHEMA.names, WEIGHTS.name)},
            )
        self._file.truncate(0)
        os.fsync(self._file.fileno())
        self._rollouts.settle()


def _whole_lines(path: Path) -> Iterator[Row]:
    """Every line that was written to its end."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and row.keys() >= set(SCHEMA.names):
                yield row
