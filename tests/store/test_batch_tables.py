"""Files and batches in the store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from alpharay.serve.learn.store import BatchTables, Full, StoredBatch, StoredFile

ROOM = {"most_files": 3, "most_bytes": 100}


@pytest.fixture
def tables(store):
    return BatchTables(store)


def file(name, key="alice", at=1.0, size=10, **more):
    return StoredFile(id=name, key=key, at=at, size=size, name="in.jsonl", purpose="batch", **more)


def batch(name, at=1.0, **more):
    return StoredBatch(id=name, key="alice", at=at, object={"id": name, "status": "in_progress"}, **more)


def test_files_come_back_page_by_page_in_either_order(tables):
    # Two of one moment are in one order all the same.
    kept = [file("b"), file("a"), file("c", at=2.0)]
    for entry in kept:
        tables.add_file(entry, **ROOM)
    assert tables.file("a", "alice") == kept[1]
    assert tables.file("a", "bob") is None
    page = {"purpose": None, "most": 2}
    assert [entry.id for entry in tables.files("alice", after=None, **page)] == ["c", "b"]
    assert [entry.id for entry in tables.files("alice", after="b", **page)] == ["a"]
    assert [entry.id for entry in tables.files("alice", after="a", newest_first=False, **page)] == ["b", "c"]
    assert not tables.files("alice", after="gone", **page)


def test_a_key_has_no_more_files_and_bytes_than_it_may(tables):
    tables.add_file(file("a", size=60), **ROOM)
    with pytest.raises(Full, match="MB of files"):
        tables.add_file(file("b", size=41), **ROOM)
    tables.add_file(file("b", size=40), **ROOM)
    tables.add_file(file("c", size=0), **ROOM)
    with pytest.raises(Full, match="3 files"):
        tables.add_file(file("d", size=0), **ROOM)
    tables.add_file(file("e", key="bob", size=100), **ROOM)
    assert tables.delete_file("a", "alice")
    assert not tables.delete_file("e", "alice")


def test_a_batch_that_has_ended_stays_as_it_is_with_the_files_it_wrote(tables):
    tables.add_batch(batch("one"), most_open=1)
    with pytest.raises(Full, match="1 batches"):
        tables.add_batch(batch("two"), most_open=1)
    assert [entry.id for entry in tables.open_batches()] == ["one"]
    written = (file("out"),)
    for _ in range(2):  # whoever was killed in between does it again
        ended = tables.change("one", "alice", lambda _: {"status": "completed"}, over=True, written=written)
        assert ended.object["status"] == "completed"
    later = tables.change("one", "alice", lambda _: {"status": "cancelling"})
    assert (later.over, later.object["status"]) == (True, "completed")
    assert tables.change("one", "bob", lambda _: {}) is None
    assert not tables.open_batches()
    assert [entry.id for entry in tables.files("alice", purpose="batch", after=None, most=9)] == ["out"]


def test_what_is_old_is_forgotten_but_for_batches_that_have_not_ended(tables):
    for entry in (file("expired", expires=5.0), file("old"), file("new", at=9.0)):
        tables.add_file(entry, most_files=9, most_bytes=900)
    for entry in (batch("open"), batch("over", over=True)):
        tables.add_batch(entry, most_open=9)
    assert tables.forget(6.0, None) == ["expired"]
    assert tables.forget(6.0, 8.0) == ["old"]
    assert [entry.id for entry in tables.batches("alice", after=None, most=9)] == ["open"]
