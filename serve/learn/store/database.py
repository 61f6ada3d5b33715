"""The store itself: short transactions on SQLite or PostgreSQL. Blocking: called from a thread."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, select, text, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from alpharay.judge.verdict import VerdictKind
from alpharay.router import LoggedOutcome
from alpharay.serve.learn.store.place import shown_url
from alpharay.serve.learn.store.schema import (
    bring_up_to_date,
    experiences,
    feedback,
    pruned,
    requests,
    sizes,
    snapshots,
)

# How long a statement may wait for another process that writes.
_BUSY_S = 10.0
# One writer at a time, so that the log's numbers become visible in their order (an arbitrary constant).
_LOCK = 0x616C706861726179
_KEPT_SNAPSHOTS = 2


class StoreDown(Exception):
    """The database cannot be used now; the text holds no secret."""


class RecordRefused(ValueError):
    """The database does not take these values; it would not take them later either."""


class UnknownRequest(LookupError):
    """There is no such request; or, where `choice` is set, it has no such choice."""

    def __init__(self, message: str, *, choice: bool = False) -> None:
        super().__init__(message)
        self.choice = choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One finished request. trace: see serve/learn/recording.py. choices: the draws that came back, best first.

    rows: what its judged draws taught. checkpoints: per member name, what weights it had.
    """

    request: str
    trace: Mapping[str, Any]
    choices: Sequence[int]
    rows: Sequence[LoggedOutcome] = ()
    checkpoints: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One row of the log. seq: its place; later rows have larger ones.

    experience: None for a row that cannot be read, for the reason `fault`.
    """

    seq: int
    checkpoint: str
    logged: LoggedOutcome | None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A client's feedback on one choice of an answer."""

    request: str
    choice: int
    verdict: VerdictKind


class Store:
    """An open store. Threads may share it; each call is one transaction.

    Every method raises StoreDown while the database cannot be used.
    """

    def __init__(self, url: str) -> None:
        """url: as `place.resolved` gives it. Nothing is opened yet."""
        self.shown = shown_url(url)
        sqlite = url.startswith("sqlite")
        options: dict[str, Any] = (
            {"connect_args": {"timeout": _BUSY_S}} if sqlite else {"pool_pre_ping": True}
        )
        self._engine = create_engine(url, **options)
        self._postgres = self._engine.dialect.name == "postgresql"
        if sqlite:
            _prepare_sqlite(self._engine)

    def open(self) -> None:
        """Makes the tables, or brings those of an older version up to date. Raises StartFailed: they are newer."""
        with self.writing() as connection:
            bring_up_to_date(connection)

    def close(self) -> None:
        self._engine.dispose()

    def append(self, records: Sequence[Record]) -> None:
        """Adds requests and their logged outcomes in one transaction. Existing ids are ignored (idempotent): a batch
        whose commit was not confirmed may be sent again.
        """
        with self.writing() as connection:
            known = set(
                connection.scalars(
                    select(requests.c.id).where(requests.c.id.in_([record.request for record in records]))
                )
            )
            new = [record for record in records if record.request not in known]
            if not new:
                return
            at = time.time()
            written, measured = [], []
            rows: list[dict[str, Any]] = []
            for record in new:
                own = [_row(row, record.checkpoints.get(row.member, "")) for row in record.rows]
                trace, choices = json.dumps(record.trace), json.dumps(list(record.choices))
                # JSON is ASCII here, so that characters are bytes.
                size = len(trace) + len(choices) + sum(len(row["row"]) for row in own)
                written.append({"id": record.request, "at": at, "trace": trace, "choices": choices})
                measured.append({"request": record.request, "at": at, "size": size})
                rows += own
            connection.execute(insert(requests), written)
            connection.execute(insert(sizes), measured)
            if rows:
                connection.execute(insert(experiences), rows)

    def take_feedback(self, report: Feedback) -> bool:
        """Adds a client's feedback to the log; durable once this returns. False: known already.

        Raises UnknownRequest.
        """
        with self.writing() as connection:
            recorded = connection.execute(
                select(requests.c.trace, requests.c.choices).where(requests.c.id == report.request)
            ).first()
            if recorded is None:
                raise UnknownRequest(f"there is no answer with the id {report.request!r}")
            trace, choices = json.loads(recorded.trace), json.loads(recorded.choices)
            if not report.choice < len(choices):
                raise UnknownRequest(
                    f"that answer has {len(choices)} choices, there is no choice {report.choice}", choice=True
                )
            own = (feedback.c.request == report.request) & (feedback.c.choice == report.choice)
            before = connection.scalar(select(feedback.c.verdict).where(own))
            if before == report.verdict.value:
                return False
            values = {"at": time.time(), "verdict": report.verdict.value}
            if before is None:
                connection.execute(
                    insert(feedback).values(request=report.request, choice=report.choice, **values)
                )
            else:
                connection.execute(update(feedback).where(own).values(**values))
            try:
                row, checkpoint = logged_outcome_of_feedback(trace, report, choices[report.choice])
            except (LookupError, TypeError, ValueError, StopIteration) as error:
                raise UnknownRequest("that answer was recorded by another version of alpharay") from error
            logged = _row(row, checkpoint)
            connection.execute(insert(experiences).values(logged))
            measured = sizes.c.request == report.request
            connection.execute(update(sizes).where(measured).values(size=sizes.c.size + len(logged["row"])))
        return True

    def log(self, after: int, most: int = 5000, *, checkpoints: Sequence[str] | None = None) -> list[Logged]:
        """The next rows of the log, in order. checkpoints: only rows of these; None: all."""
        query = select(experiences).where(experiences.c.seq > after).order_by(experiences.c.seq).limit(most)
        if checkpoints is not None:
            query = query.where(experiences.c.checkpoint.in_(checkpoints))
        with self.reading() as connection:
            return [_logged(row) for row in connection.execute(query)]

    def start_of_newest(self, checkpoints: Sequence[str], rows: int) -> int:
        """The place before the newest so many rows of these checkpoints, as far as they are kept."""
        query = (
            select(experiences.c.seq)
            .where(experiences.c.checkpoint.in_(checkpoints))
            .order_by(experiences.c.seq.desc())
            .limit(1)
            .offset(rows)
        )
        with self.reading() as connection:
            return max(connection.scalar(query) or 0, _pruned_through(connection))

    def pruned_through(self) -> int:
        """The last row that was deleted; 0: none was."""
        with self.reading() as connection:
            return _pruned_through(connection)

    def size(self) -> int:
        """Bytes of all requests that are kept, with the rows of their draws, without the database's own indexes."""
        with self.reading() as connection:
            return _size(connection)

    def oldest(self) -> float:
        """The Unix time of the oldest request that is kept; infinite without any."""
        with self.reading() as connection:
            at = connection.scalar(select(func.min(requests.c.at)))
        return math.inf if at is None else float(at)

    def start_within(self, size: int) -> float:
        """The time from which the newest requests may be kept if they are to have at most so many bytes; 0: all may."""
        with self.reading() as connection:
            if _size(connection) <= size:
                return 0.0
            # Requests of the same time, one replica's batch, go or stay together.
            total = func.sum(sizes.c.size).over(order_by=sizes.c.at.desc())
            sums = select(sizes.c.at, total.label("total")).subquery()
            newest_too_old = connection.scalar(select(func.max(sums.c.at)).where(sums.c.total > size))
            return math.nextafter(newest_too_old or 0.0, math.inf)

    def prune(self, before: float, most: int = 500) -> bool:
        """Deletes a batch of the requests that are older than that time, with what they taught and the feedback on them.

        Returns whether there may be more.
        """
        with self.writing() as connection:
            old = list(
                connection.scalars(
                    select(requests.c.id).where(requests.c.at < before).order_by(requests.c.at).limit(most)
                )
            )
            connection.execute(delete(feedback).where(feedback.c.request.in_(old)))
            connection.execute(delete(sizes).where(sizes.c.request.in_(old)))
            connection.execute(delete(requests).where(requests.c.id.in_(old)))
            if len(old) == most:
                return True
            return self._prune_log(connection, most)

    def prune_snapshots(self, before: float, view: str) -> None:
        """Deletes those that are older than that time, but for those of `view`."""
        stale = (snapshots.c.at < before) & (snapshots.c.view != view)
        with self.writing() as connection:
            connection.execute(delete(snapshots).where(stale))

    @staticmethod
    def _prune_log(connection: Connection, most: int) -> bool:
        """Deletes the start of the log, up to the first row of a kept request, so that the rest has no gaps."""
        kept = (
            select(experiences.c.seq)
            .join(requests, requests.c.id == experiences.c.request)
            .order_by(requests.c.at, experiences.c.seq)
            .limit(1)
        )
        first = connection.scalar(kept)
        query = select(experiences.c.seq).order_by(experiences.c.seq).limit(10 * most)
        gone = list(connection.scalars(query if first is None else query.where(experiences.c.seq < first)))
        if gone:
            connection.execute(delete(experiences).where(experiences.c.seq <= gone[-1]))
            connection.execute(delete(pruned))
            connection.execute(insert(pruned).values(through=gone[-1]))
        return len(gone) == 10 * most

    def trace(self, request: str) -> dict[str, Any]:
        """Everything that decided a recorded request. Raises UnknownRequest."""
        with self.reading() as connection:
            trace = connection.scalar(select(requests.c.trace).where(requests.c.id == request))
        if trace is None:
            raise UnknownRequest(f"there is no answer with the id {request!r}")
        return dict(json.loads(trace))

    def snapshots(self, view: str) -> list[tuple[int, dict[str, Any]]]:
        """(the last row it was learnt from, the state) of each that is kept, the newest first."""
        query = select(snapshots).where(snapshots.c.view == view).order_by(snapshots.c.seq.desc())
        with self.reading() as connection:
            return [(row.seq, json.loads(row.state)) for row in connection.execute(query)]

    def begin(self, view: str, seq: int, state: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Stores the start of that view's fold; if another replica has already, returns that start."""
        query = select(snapshots).where(snapshots.c.view == view).order_by(snapshots.c.seq).limit(1)
        with self.writing() as connection:
            kept = connection.execute(query).first()
            if kept is not None:
                return kept.seq, json.loads(kept.state)
            connection.execute(
                insert(snapshots).values(view=view, seq=seq, at=time.time(), state=json.dumps(state))
            )
        return seq, dict(state)

    def keep_snapshot(self, view: str, seq: int, state: Mapping[str, Any]) -> None:
        """Keeps it, the one before it, and the first; replicas that learnt the same rows have the same state."""
        mine = snapshots.c.view == view
        with self.writing() as connection:
            kept = list(
                connection.scalars(select(snapshots.c.seq).where(mine).order_by(snapshots.c.seq.desc()))
            )
            if seq not in kept:
                connection.execute(
                    insert(snapshots).values(view=view, seq=seq, at=time.time(), state=json.dumps(state))
                )
                kept = sorted([*kept, seq], reverse=True)
            connection.execute(delete(snapshots).where(mine & snapshots.c.seq.in_(kept[_KEPT_SNAPSHOTS:-1])))

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, of which there is one at a time in all processes."""
        with self._store_errors(), self._engine.begin() as connection:
            if self._postgres:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with (
            self._store_errors(),
            self._engine.connect().execution_options(alpharay_reads=True) as connection,
        ):
            yield connection

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        try:
            yield
        except (DataError, IntegrityError) as error:
            raise RecordRefused(f"{self.shown}: {' '.join(str(error.orig).split())[:300]}") from None
        except DBAPIError as error:
            # The driver's own words, without the statement and its values.
            raise StoreDown(f"{self.shown}: {' '.join(str(error.orig).split())[:300]}") from None
        except SQLAlchemyError as error:
            raise StoreDown(f"{self.shown}: {type(error).__name__}") from None


def logged_outcome_of_feedback(
    trace: Mapping[str, Any], report: Feedback, draw: int
) -> tuple[LoggedOutcome, str]:
    """The row that feedback on a recorded request's draw adds, and its member's checkpoint."""
    from alpharay.serve.learn.recording import drawn

    recorded = drawn(trace, draw)
    row = LoggedOutcome.from_json(
        {
            "request": report.request,
            "draw": draw,
            "member": recorded["member"],
            "alpha": recorded["alpha"],
            "weights": recorded["weights"],
            "verdict": report.verdict,
            "prompt_tokens": recorded["prompt_tokens"],
            "completion_tokens": recorded["completion_tokens"],
            "turn": recorded["turn"],
            "repaired": recorded["repaired"],
            "features": trace["ask"]["features"],
            "source": "feedback",
        }
    )
    return row, recorded["checkpoint"]


def _logged(row: Any) -> Logged:
    try:
        logged = LoggedOutcome.from_json(json.loads(row.row))
    except Exception as error:  # damaged, or of a version that writes what this one cannot read
        fault = f"{type(error).__name__}: {error}"
        return Logged(seq=row.seq, checkpoint=row.checkpoint, logged=None, fault=fault)
    return Logged(seq=row.seq, checkpoint=row.checkpoint, logged=logged)


def _size(connection: Connection) -> int:
    return int(connection.scalar(select(func.coalesce(func.sum(sizes.c.size), 0))) or 0)


def _pruned_through(connection: Connection) -> int:
    return connection.scalar(select(pruned.c.through)) or 0


def _row(logged: LoggedOutcome, checkpoint: str) -> dict[str, Any]:
    return {
        "request": logged.request,
        "draw": logged.draw,
        "checkpoint": checkpoint,
        "row": json.dumps(logged.to_json()),
    }


def _to_wal(connection: sqlite3.Connection) -> None:
    """Of several that open a new file at once SQLite refuses some right away, whatever their timeout: they try again."""
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _prepare_sqlite(engine: Engine) -> None:
    """One writer beside any number of readers, in several processes; a commit is on the disk."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        _to_wal(connection)
        for pragma in ("synchronous=FULL", f"busy_timeout={int(_BUSY_S * 1000)}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # A transaction that writes takes the lock at once: one that read first could not be promoted.
        reads = connection.get_execution_options().get("alpharay_reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
