"""What the store keeps: for a time, without gaps; where a fold of its log begins; what of it cannot be learnt from."""

from __future__ import annotations

import json
import logging
import time

import pytest
from sqlalchemy import func, insert, select, update

from alpharay.router import Learner
from alpharay.serve.learn import learning
from alpharay.serve.learn.learning import Fold, Retention, folded_to, view_of
from alpharay.serve.learn.store import Feedback, Record, RecordRefused, Store, UnknownRequest, schema
from alpharay.serve.learn.store.schema import experiences, feedback, requests, sizes, snapshots

from .test_store import CHECKPOINTS, VerdictKind, record

DAY = 86400.0
OTHERS = {"frontier@0": "c" * 64, "frontier@1": "d" * 64}


def aged(store, days, *names):
    """Has those requests been recorded so many days ago."""
    with store.writing() as connection:
        for name in names:
            values = {"at": time.time() - days * DAY}
            connection.execute(update(requests).where(requests.c.id == name).values(**values))
            connection.execute(update(sizes).where(sizes.c.request == name).values(**values))


def count(store, table):
    with store.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def prune(store, days, most=2):
    batches = 1
    while store.prune(time.time() - days * DAY, most=most):
        batches += 1
        assert batches < 100
    return batches


def older_store(url, monkeypatch, steps, *records):
    """A store as a version with so many steps left it, without the table of sizes; and the size of those records."""
    monkeypatch.setattr(schema, "STEPS", schema.STEPS[:steps])
    store = Store(url)
    store.open()
    with store.writing() as connection:
        sizes.create(connection)
    store.append(records)
    size = store.size()
    with store.writing() as connection:
        sizes.drop(connection)
    monkeypatch.undo()
    return store, size


def of(record, checkpoints):
    return Record(
        request=record.request,
        trace=record.trace,
        choices=record.choices,
        rows=record.rows,
        checkpoints=checkpoints,
    )


def folded(store, checkpoints=CHECKPOINTS, **options):
    fold = Fold(checkpoints, **options)
    fold.open(store)
    while rows := fold.next_rows(store):
        fold.learn(rows)
    return fold


def test_what_is_older_than_it_is_kept_goes_with_all_that_hangs_on_it(store):
    names = [f"r{number}" for number in range(7)]
    store.append([record(name) for name in names])
    for name in ("r0", "r6"):
        store.take_feedback(Feedback(request=name, choice=0, verdict=VerdictKind.ACCEPTED))
    aged(store, 40, *names[:5])
    assert prune(store, 30) > 2
    assert [count(store, table) for table in (requests, feedback)] == [2, 1]
    assert {row.logged.request for row in store.log(0)} - {"r0"} == {
        "r5",
        "r6",
    }  # r0 said something later
    with pytest.raises(UnknownRequest):
        store.trace("r0")
    assert store.trace("r5")
    assert prune(store, 30) == 1


def test_old_requests_that_taught_nothing_keep_nothing(store):
    store.append([record("r0"), record("r1", judged=False)])
    aged(store, 40, "r0")
    prune(store, 30)
    assert store.log(0) == []
    assert store.pruned_through() == 2


def test_the_size_of_a_store_is_that_of_its_requests_and_their_rows(store):
    store.append([record("r0"), record("r1", judged=False)])
    store.take_feedback(Feedback(request="r0", choice=0, verdict=VerdictKind.ACCEPTED))
    with store.reading() as connection:
        texts = [
            *connection.scalars(select(requests.c.trace)),
            *connection.scalars(select(requests.c.choices)),
            *connection.scalars(select(experiences.c.row)),
        ]
    assert store.size() == sum(len(text.encode()) for text in texts)


@pytest.mark.parametrize(("room", "kept"), [(7.0, 7), (6.9, 6), (3.5, 3), (1.0, 1), (0.5, 0)])
def test_a_store_of_a_given_size_keeps_the_newest_requests_that_have_room(store, room, kept):
    names = [f"r{number}" for number in range(7)]
    store.append([record(name) for name in names])
    for number, name in enumerate(names):
        aged(store, 40 - number, name)
    limit = int(room * store.size() / 7)
    before = Retention(size=limit).start(store)
    while store.prune(before, most=2):
        pass
    with store.reading() as connection:
        assert set(connection.scalars(select(requests.c.id))) == set(names[7 - kept :])
    assert store.size() <= limit
    assert {row.logged.request for row in store.log(0)} == set(names[7 - kept :])


def test_of_age_and_size_the_stricter_counts(store):
    store.append([record("r0")])
    store.append([record("r1")])
    aged(store, 3, "r0")
    aged(store, 1, "r1")
    now, size = time.time(), store.size()
    assert store.oldest() == pytest.approx(now - 3 * DAY, abs=60)
    assert Retention().start(store) == 0.0
    assert Retention(seconds=2 * DAY, size=size).start(store) == pytest.approx(now - 2 * DAY, abs=60)
    assert Retention(seconds=4 * DAY, size=size - 1).start(store) == pytest.approx(now - 3 * DAY, abs=60)
    assert Retention(seconds=4 * DAY, size=1).start(store) == pytest.approx(now - DAY, abs=60)


def test_a_store_of_the_third_version_gets_the_size_of_its_requests(url, monkeypatch):
    third, expected = older_store(url, monkeypatch, 3, record("r0"), record("r1", judged=False))
    third.open()
    assert third.size() == expected > 0
    third.close()


def test_snapshots_of_members_that_nobody_serves_any_more_go_too(store):
    for view in ("mine", "old", "new"):
        store.keep_snapshot(view, 1, {})
    with store.writing() as connection:
        connection.execute(
            update(snapshots).where(snapshots.c.view != "new").values(at=time.time() - 40 * DAY)
        )
    store.prune_snapshots(time.time() - 30 * DAY, "mine")
    assert [len(store.snapshots(view)) for view in ("mine", "old", "new")] == [1, 0, 1]


def test_a_fold_begins_at_the_newest_rows_of_its_own_checkpoints(store, monkeypatch):
    monkeypatch.setattr(learning, "NEWEST_ROWS", 6)
    store.append([record(f"a{number}") for number in range(5)])
    store.append([of(record(f"b{number}"), OTHERS) for number in range(9)])
    read = []
    monkeypatch.setattr(
        Store,
        "log",
        lambda self, after, log=Store.log, **options: read.append(after) or log(self, after, **options),
    )
    assert folded(store).learner.folded == 6
    assert read == [4, 10]
    assert folded(store, {"frontier@0": "e" * 64}).learner.folded == 0
    assert read[2:] == [0]  # and nothing of 28 rows


def test_replicas_that_begin_at_different_times_come_to_the_same(store, monkeypatch):
    monkeypatch.setattr(learning, "NEWEST_ROWS", 4)
    store.append([record(f"r{number}") for number in range(4)])
    early = folded(store)
    store.append([record(f"s{number}") for number in range(4)])
    early.learn(early.next_rows(store))
    late = folded(store)
    assert late.learner.folded == 4 + 8
    assert json.dumps(late.learner.snapshot()) == json.dumps(early.learner.snapshot())


def test_what_was_known_at_a_time_is_told_from_what_is_kept_or_not_at_all(store, monkeypatch):
    monkeypatch.setattr(learning, "SNAPSHOT_EVERY", 4)
    fold = Fold(CHECKPOINTS)
    fold.open(store)
    for number in range(4):
        store.append([record(f"r{number}")])
        fold.learn(fold.next_rows(store))
        fold.keep(store)
    assert folded_to(store, CHECKPOINTS, 3).folded == 3
    aged(store, 40, "r0")
    prune(store, 30)
    with pytest.raises(UnknownRequest, match="not kept any more"):
        folded_to(store, CHECKPOINTS, 3)
    again = folded_to(store, CHECKPOINTS, 7)
    straight = Learner()
    for number in range(4):
        for row in record(f"r{number}").rows[: 1 if number == 3 else 2]:
            straight.learn(row)
    assert json.dumps(again.snapshot()) == json.dumps(straight.snapshot())


POISON = [
    "not json",
    "{}",
    '{"verdict": "of a later version"}',
    {"alpha": "x"},
    {"features": [1e300]},
    {"features": [None]},
    {"prompt_tokens": 10**400},
    {"completion_tokens": "many"},
    {"draw": -1},
    {"member": ["frontier@0"]},
]


@pytest.mark.parametrize("poison", POISON, ids=str)
def test_a_row_that_cannot_be_read_is_passed_over_counted_and_told_once(store, poison, caplog):
    [good, *_] = record("r0").rows
    text = poison if isinstance(poison, str) else json.dumps(good.to_json() | poison)
    store.append([record("r0")])
    with store.writing() as connection:
        for _ in range(3):
            row = {"request": "x", "draw": 0, "checkpoint": "a" * 64, "row": text}
            connection.execute(insert(experiences).values(**row))
    store.append([record("r1")])
    skipped = []
    with caplog.at_level(logging.ERROR, "ray.serve"):
        fold = folded(store, skipped=lambda: skipped.append(1))
    assert (fold.learner.folded, len(skipped), len(caplog.records)) == (4, 3, 1)
    assert fold.next_rows(store) == []


def test_a_row_that_the_learner_chokes_on_is_passed_over(store, monkeypatch):
    learn = Learner.learn
    monkeypatch.setattr(
        Learner, "learn", lambda self, row: learn(self, row) if row.request != "r1" else 1 / 0
    )
    store.append([record(f"r{number}") for number in range(3)])
    skipped = []
    assert folded(store, skipped=lambda: skipped.append(1)).learner.folded == 4
    assert len(skipped) == 2


def test_a_snapshot_that_cannot_be_read_is_done_without(store):
    store.append([record("r0")])
    whole = folded(store).learner.snapshot()
    store.keep_snapshot(view_of(CHECKPOINTS), 1, whole | {"members": 3})
    assert folded(store).learner.folded == 2


def test_what_the_database_refuses_is_told_from_a_database_that_is_away(store):
    store.append([record("r0")])
    with pytest.raises(RecordRefused), store.writing() as connection:
        connection.execute(insert(requests).values(id="r0", at=1.0, trace="{}", choices="[]"))


def test_a_store_of_the_first_version_gets_what_old_rows_are_found_by(url, monkeypatch):
    first, _ = older_store(url, monkeypatch, 1, record("r0"))
    with first.writing() as connection:
        for index in (*requests.indexes, *experiences.indexes):
            if index.name in {"alpharay_requests_at", "alpharay_experiences_checkpoint"}:
                index.drop(connection)
    first.open()
    aged(first, 40, "r0")
    prune(first, 30)
    assert count(first, requests) == 0
    first.close()
