"""The store's tables, and the steps that bring an older store up to date.

The steps are ordinary code, run under a lock when the store is opened and counted in a table of their own:
for a handful of tables that one program writes, a migration framework with its folder and configuration would
be more to keep right than what it replaces.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)

from alpharay.serve.errors import StartFailed

metadata = MetaData()

# SQLite counts by itself only in a column of exactly this type.
_COUNTER = BigInteger().with_variant(Integer, "sqlite")

versions = Table("alpharay_schema", metadata, Column("version", Integer, primary_key=True))

# trace: the request and every event of its session, as JSON (serve/learn/recording.py).
# choices: the returned draws, best first, as a JSON list.
requests = Table(
    "alpharay_requests",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("trace", Text, nullable=False),
    Column("choices", Text, nullable=False),
    Index("alpharay_requests_at", "at"),
)

# How many bytes a request's trace, choices and rows of the log have. Apart from them, so that all can be added up quickly.
sizes = Table(
    "alpharay_sizes",
    metadata,
    Column("request", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("size", BigInteger, nullable=False),
    Index("alpharay_sizes_at", "at", "size"),
)

# The log, in the order in which everything is learnt. checkpoint: what weights the member had.
experiences = Table(
    "alpharay_experiences",
    metadata,
    Column("seq", _COUNTER, primary_key=True, autoincrement=True),
    Column("request", String(64), nullable=False),
    Column("draw", Integer, nullable=False),
    Column("checkpoint", String(64), nullable=False),
    Column("row", Text, nullable=False),
    Index("alpharay_experiences_draw", "request", "draw"),
    Index("alpharay_experiences_checkpoint", "checkpoint", "seq"),
)

feedback = Table(
    "alpharay_feedback",
    metadata,
    Column("request", String(64), primary_key=True),
    Column("choice", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("verdict", String(32), nullable=False),
)

# What was learnt from the rows up to `seq` by servers of the same members (`view`).
snapshots = Table(
    "alpharay_snapshots",
    metadata,
    Column("view", String(64), primary_key=True),
    Column("seq", _COUNTER, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("state", Text, nullable=False),
)


# The last row of the log that was deleted; no row when none was.
pruned = Table(
    "alpharay_pruned", metadata, Column("through", _COUNTER, primary_key=True, autoincrement=False)
)

# Uploaded files, and those that batches wrote; their bytes lie in a folder (serve/gateway/batches/). key: the name of the API key
# that they belong to; empty on a server without keys. expires: Unix time; null: with the store's other records.
files = Table(
    "alpharay_files",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("key", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("expires", Float),
    Column("size", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Index("alpharay_files_key", "key", "at"),
)

# object: the batch as its client sees it, JSON. over: whether it has ended, in whatever way.
batches = Table(
    "alpharay_batches",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("key", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("over", Boolean, nullable=False),
    Column("object", Text, nullable=False),
    Index("alpharay_batches_key", "key", "at"),
    Index("alpharay_batches_over", "over", "at"),
)


def _first(connection: Connection) -> None:
    metadata.create_all(connection, tables=[requests, experiences, feedback, snapshots])


def _second(connection: Connection) -> None:
    """What old rows are found and deleted by."""
    metadata.create_all(connection, tables=[pruned])
    for table in (requests, experiences):
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _third(connection: Connection) -> None:
    metadata.create_all(connection, tables=[files, batches])


def _fourth(connection: Connection) -> None:
    """The sizes of the requests that are there, for a store that is bounded by size: all of them are read once."""
    metadata.create_all(connection, tables=[sizes])
    # What is recorded is ASCII: characters are bytes. PostgreSQL knows the bytes without reading them.
    length = func.octet_length if connection.dialect.name == "postgresql" else func.length
    rows = (
        select(func.coalesce(func.sum(length(experiences.c.row)), 0))
        .where(experiences.c.request == requests.c.id)
        .scalar_subquery()
    )
    own = length(requests.c.trace) + length(requests.c.choices)
    measured = select(requests.c.id, requests.c.at, own + rows)
    connection.execute(insert(sizes).from_select(["request", "at", "size"], measured))


# Never changed once released, only added to. A step sees the tables as the one before left them.
STEPS: list[Callable[[Connection], None]] = [_first, _second, _third, _fourth]


def bring_up_to_date(connection: Connection) -> None:
    """Runs the steps that the store lacks. The connection's transaction must be the only one that does so.

    Raises StartFailed: a later version of alpharay made this store.
    """
    metadata.create_all(connection, tables=[versions])
    version = connection.execute(select(versions.c.version)).scalar()
    if version is not None and version > len(STEPS):
        raise StartFailed(
            f"the store has schema version {version}, this alpharay knows {len(STEPS)}; "
            "use a newer alpharay, or another store"
        )
    for step in STEPS[version or 0 :]:
        step(connection)
    if version is None:
        connection.execute(insert(versions).values(version=len(STEPS)))
    elif version < len(STEPS):
        connection.execute(update(versions).values(version=len(STEPS)))
