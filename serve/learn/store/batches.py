"""Files and batches in the store: what there is, and whose. Blocking, as the store is; raises StoreDown as it does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Select, Table, delete, func, insert, select, tuple_, update

from alpharay.serve.learn.store.database import Store
from alpharay.serve.learn.store.schema import batches, files

Json = dict[str, Any]


class Full(Exception):
    """The key has as much as it may have; the text says of what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """key: the name of the API key that it belongs to, "" without keys. at, expires: Unix times. size: bytes."""

    id: str
    key: str
    at: float
    size: int
    name: str
    purpose: str
    expires: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """object: the batch as its client sees it. over: it has ended, in whatever way."""

    id: str
    key: str
    at: float
    object: Json
    over: bool = False


class BatchTables:
    """The tables `files` and `batches` of a store. key: whose; nothing of other keys is found."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add_file(self, file: StoredFile, *, most_files: int, most_bytes: int) -> None:
        """Raises Full: the key would have more files, or bytes, than that."""
        with self._store.writing() as connection:
            own = select(func.count(), func.coalesce(func.sum(files.c.size), 0)).where(
                files.c.key == file.key
            )
            count, size = map(int, connection.execute(own).one())
            if count >= most_files:
                raise Full(f"{count} files, of {most_files} at most")
            if size + file.size > most_bytes:
                raise Full(f"{size / 1e6:.0f} MB of files, of {most_bytes / 1e6:g} MB at most")
            connection.execute(insert(files).values(**asdict(file)))

    def file(self, name: str, key: str) -> StoredFile | None:
        with self._store.reading() as connection:
            row = connection.execute(_own(files, name, key)).first()
        return _file(row) if row is not None else None

    def files(
        self, key: str, *, purpose: str | None, after: str | None, most: int, newest_first: bool = True
    ) -> list[StoredFile]:
        query = select(files).where(files.c.key == key)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        with self._store.reading() as connection:
            rows = _page(connection, files, query, after, most, newest_first=newest_first)
        return [_file(row) for row in rows]

    def delete_file(self, name: str, key: str) -> bool:
        """Whether there was such a file."""
        with self._store.writing() as connection:
            gone = connection.execute(delete(files).where(files.c.id == name, files.c.key == key))
            return bool(gone.rowcount)

    def add_batch(self, batch: StoredBatch, *, most_open: int) -> None:
        """Raises Full: so many batches of the key have not ended."""
        with self._store.writing() as connection:
            own = select(func.count()).where(batches.c.key == batch.key, batches.c.over.is_(False))
            count = connection.scalar(own) or 0
            if not batch.over and count >= most_open:
                raise Full(f"{count} batches that have not ended, of {most_open} at most")
            connection.execute(
                insert(batches).values(
                    id=batch.id, key=batch.key, at=batch.at, over=batch.over, object=json.dumps(batch.object)
                )
            )

    def batch(self, name: str, key: str) -> StoredBatch | None:
        with self._store.reading() as connection:
            row = connection.execute(_own(batches, name, key)).first()
        return _batch(row) if row is not None else None

    def batches(self, key: str, *, after: str | None, most: int) -> list[StoredBatch]:
        """The newest first."""
        query = select(batches).where(batches.c.key == key)
        with self._store.reading() as connection:
            return [_batch(row) for row in _page(connection, batches, query, after, most)]

    def open_batches(self) -> list[StoredBatch]:
        """Of all keys, those that have not ended, the oldest first."""
        query = select(batches).where(batches.c.over.is_(False)).order_by(batches.c.at, batches.c.id)
        with self._store.reading() as connection:
            return [_batch(row) for row in connection.execute(query)]

    def change(
        self,
        name: str,
        key: str,
        changes: Callable[[Json], Json],
        *,
        over: bool = False,
        written: tuple[StoredFile, ...] = (),
    ) -> StoredBatch | None:
        """Changes an open batch, and adds the files that it has written. One that has ended stays as it is.

        changes: gives fields of the object that are now otherwise. over: it has ended. Returns the batch as it is
        then; None: there is no such batch.
        """
        with self._store.writing() as connection:
            row = connection.execute(_own(batches, name, key)).first()
            if row is None or row.over:
                return None if row is None else _batch(row)
            whole = json.loads(row.object)
            whole |= changes(whole)
            connection.execute(
                update(batches).where(batches.c.id == name).values(over=over, object=json.dumps(whole))
            )
            if written:
                connection.execute(delete(files).where(files.c.id.in_([file.id for file in written])))
                connection.execute(insert(files), [asdict(file) for file in written])
        return StoredBatch(id=row.id, key=row.key, at=row.at, object=whole, over=over)

    def forget(self, now: float, before: float | None) -> list[str]:
        """Deletes files that have expired or are older than `before`, and batches so old that have ended.

        Returns the ids of the files.
        """
        old = files.c.expires < now
        with self._store.writing() as connection:
            if before is not None:
                old |= files.c.at < before
                connection.execute(delete(batches).where(batches.c.over.is_(True), batches.c.at < before))
            gone = list(connection.scalars(select(files.c.id).where(old)))
            connection.execute(delete(files).where(files.c.id.in_(gone)))
        return gone


def _own(table: Table, name: str, key: str) -> Select[Any]:
    return select(table).where(table.c.id == name, table.c.key == key)


def _page(
    connection: Connection,
    table: Table,
    query: Select[Any],
    after: str | None,
    most: int,
    *,
    newest_first: bool = True,
) -> list[Any]:
    """after: the id of the last row of the page before; one that is not there any more gives nothing."""
    if after is not None:
        last = connection.execute(select(table.c.at, table.c.id).where(table.c.id == after)).first()
        if last is None:
            return []
        here = tuple_(table.c.at, table.c.id)
        query = query.where(here < tuple_(*last) if newest_first else here > tuple_(*last))
    order = (table.c.at, table.c.id)
    query = query.order_by(*(column.desc() for column in order) if newest_first else order)
    return list(connection.execute(query.limit(most)))


def _file(row: Any) -> StoredFile:
    return StoredFile(**row._mapping)  # noqa: SLF001 - a public name of SQLAlchemy's


def _batch(row: Any) -> StoredBatch:
    return StoredBatch(id=row.id, key=row.key, at=row.at, object=json.loads(row.object), over=row.over)
