"""The Parquet files of a folder of rollouts: added to one batch at a time, each row once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from alpharay.serve.errors import OutcomesError
from alpharay.serve.learn.rollouts.fields import ROLLOUT_SCHEMA, Row, as_table
from alpharay.serve.learn.rollouts.outcome import replace_whole

_PART_BYTES = 64 << 20
_ROWS_AT_ONCE = 128

_Key = tuple[str, str, int]


class Parts:
    """`part-0000.parquet`, `part-0001.parquet`, …: the last one is written anew until it is large enough.

    Raises OutcomesError: a file there cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._settled = False
        self._written: set[_Key] = set()  # of rows that may be handed in a second time

    def append(self, rows: Iterable[Row]) -> None:
        """Writes rows, each an outcome with its rollout; those that are there already are left out.

        They are safe when it returns. Until `settle` they may be handed in again, by another process too.
        """
        if not self._settled:
            self._written = set(self._keys())
            self._settled = True
        fresh = (row for row in rows if _key(row) not in self._written)
        first = next(fresh, None)
        if first is None:
            return
        try:
            self.folder.mkdir(exist_ok=True)
            paths = self._paths()
            last = paths[-1] if paths and paths[-1].stat().st_size < _PART_BYTES else None
            path = last or self.folder / f"part-{len(paths):04d}.parquet"
            keys: set[_Key] = set()
            with (
                replace_whole(path) as part,
                pq.ParquetWriter(part, ROLLOUT_SCHEMA, compression="zstd") as file,
            ):
                if last is not None:
                    for batch in pq.ParquetFile(last).iter_batches(_ROWS_AT_ONCE):
                        file.write_table(_as_now(pa.Table.from_batches([batch])))
                for batch in batches(itertools.chain([first], fresh)):
                    keys |= {_key(row) for row in batch}
                    file.write_table(as_table(batch))
        except OSError as error:
            raise OutcomesError(f"{self.folder} cannot be written: {error.strerror or error}") from error
        except pa.ArrowException as error:
            raise OutcomesError(f"{self.folder} holds a part that is no file of rollouts: {error}") from error
        self._written |= keys

    def settle(self) -> None:
        """Nothing that was handed in so far comes again."""
        self._written, self._settled = set(), True

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def _keys(self) -> Iterator[_Key]:
        for path in self._paths():
            try:
                table = pq.read_table(path, columns=["problem", "member", "sample"])
            except (OSError, pa.ArrowException) as error:
                raise OutcomesError(f"{path} is no file of rollouts: {error}") from error
            yield from zip(*(column.to_pylist() for column in table.columns), strict=True)


def _as_now(table: pa.Table) -> pa.Table:
    """A table that an earlier version wrote, with the columns that have come since."""
    for field in ROLLOUT_SCHEMA:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(ROLLOUT_SCHEMA.names)


def _key(row: Row) -> _Key:
    return row["problem"], row["member"], row["sample"]


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        yield batch
