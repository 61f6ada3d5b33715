"""The store on its real databases: what was acknowledged stays, once, and in one order for all who read it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router import Candidate, Member, SamplingRequest
from alpharay.serve.errors import ConfigError, StartFailed
from alpharay.serve.learn.recording import RecordedSession
from alpharay.serve.learn.store import (
    Feedback,
    Record,
    Store,
    StoreDown,
    UnknownRequest,
    ready_store,
    resolved,
    schema,
    shown_url,
)

MEMBERS = (Member(name="frontier@0", alpha=0.0), Member(name="frontier@1", alpha=1.0))
CHECKPOINTS = {"frontier@0": "a" * 64, "frontier@1": "b" * 64}


def record(request, *, budget=2, judged=True):
    session = RecordedSession(
        SamplingRequest(
            members=MEMBERS, budget=budget, seed=7, stop_after_passes=budget, features=(0.5, -1.0)
        ),
        "uniform",
    )
    verdict = Verdict(VerdictKind.WRONG_ANSWER, 1, 4, failed_case=1) if judged else None
    session.step(
        Candidate(draw=draw, verdict=verdict, prompt_tokens=3, completion_tokens=11)
        for draw in session.step()
    )
    return Record(
        request=request,
        trace=session.trace(CHECKPOINTS),
        choices=[candidate.draw.index for candidate in session.select()],
        rows=session.experiences(request),
        checkpoints=CHECKPOINTS,
    )


def test_what_was_appended_is_read_in_order(store):
    store.append([record("r1"), record("r2")])
    rows = store.log(0)
    assert [(row.logged.request, row.logged.draw) for row in rows] == [
        ("r1", 0),
        ("r1", 1),
        ("r2", 0),
        ("r2", 1),
    ]
    assert [row.logged for row in rows[:2]] == list(record("r1").rows)
    assert {row.logged.member: row.checkpoint for row in rows} == CHECKPOINTS
    assert store.log(rows[1].seq) == rows[2:]
    assert store.log(rows[-1].seq) == []


def test_a_batch_sent_twice_counts_once(store):
    store.append([record("r1")])
    store.append([record("r1"), record("r2")])
    assert [row.logged.request for row in store.log(0)] == ["r1", "r1", "r2", "r2"]


def test_feedback_is_a_row_of_its_own_said_once(store):
    store.append([record("r1", judged=False)])
    feedback = Feedback(request="r1", choice=1, verdict=VerdictKind.ACCEPTED)
    assert store.take_feedback(feedback)
    assert not store.take_feedback(feedback)
    [row] = store.log(0)
    logged = row.logged
    assert (logged.request, logged.draw, logged.member, logged.verdict, logged.source) == (
        "r1", 1, "frontier@1", VerdictKind.ACCEPTED, "feedback",
    )  # fmt: skip
    assert (logged.features, logged.completion_tokens, row.checkpoint) == ((0.5, -1.0), 11, "b" * 64)


def test_feedback_can_change_its_mind(store):
    store.append([record("r1", judged=False)])
    for verdict in (VerdictKind.ACCEPTED, VerdictKind.TIME_LIMIT, VerdictKind.ACCEPTED):
        assert store.take_feedback(Feedback(request="r1", choice=0, verdict=verdict))
    assert [row.logged.verdict for row in store.log(0)] == ["accepted", "time_limit", "accepted"]


def test_feedback_on_what_is_not_there_is_refused(store):
    store.append([record("r1")])
    with pytest.raises(UnknownRequest) as unknown:
        store.take_feedback(Feedback(request="r2", choice=0, verdict=VerdictKind.ACCEPTED))
    assert not unknown.value.choice
    with pytest.raises(UnknownRequest, match="2 choices, there is no choice 2") as no_choice:
        store.take_feedback(Feedback(request="r1", choice=2, verdict=VerdictKind.ACCEPTED))
    assert no_choice.value.choice


def test_the_same_feedback_from_many_at_once_is_one_row(store):
    store.append([record("r1", judged=False)])
    feedback = Feedback(request="r1", choice=0, verdict=VerdictKind.ACCEPTED)
    with ThreadPoolExecutor(6) as pool:
        new = list(pool.map(lambda _: store.take_feedback(feedback), range(12)))
    assert sorted(new) == [False] * 11 + [True]
    assert len(store.log(0)) == 1


def test_a_reader_who_follows_the_log_misses_nothing_while_many_write(url):
    """Numbers become visible in their order: a later one is never seen before an earlier one."""
    writers = [Store(url) for _ in range(3)]
    writers[0].open()
    done = threading.Event()
    seen, reader = [], Store(url)

    def follow():
        while not done.is_set() or reader.log(seen[-1] if seen else 0):
            seen.extend(row.seq for row in reader.log(seen[-1] if seen else 0))

    following = threading.Thread(target=follow)
    following.start()
    with ThreadPoolExecutor(3) as pool:
        for number in range(10):
            list(
                pool.map(
                    lambda item, n=number: item[1].append([record(f"r{n}-{item[0]}")]), enumerate(writers)
                )
            )
    done.set()
    following.join(60)
    assert len(seen) == 60
    assert seen == [row.seq for row in reader.log(0)]
    for opened in (*writers, reader):
        opened.close()


def test_snapshots_of_two_views_are_kept_apart_and_only_the_first_and_the_latest(store):
    for seq in (5, 9, 7):
        store.keep_snapshot("v1", seq, {"at": seq})
    store.keep_snapshot("v1", 9, {"at": 9})
    store.keep_snapshot("v2", 3, {"at": 3})
    store.keep_snapshot("v1", 12, {"at": 12})
    assert store.snapshots("v1") == [(seq, {"at": seq}) for seq in (12, 9, 5)]
    assert store.snapshots("v2") == [(3, {"at": 3})]
    assert store.snapshots("v3") == []


def test_several_open_a_new_store_at_once(url):
    stores = [Store(url) for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(Store.open, stores))
    stores[0].append([record("r1")])
    assert len(stores[4].log(0)) == 2
    for opened in stores:
        opened.close()


def test_an_older_store_is_brought_up_to_date_once_and_keeps_its_rows(store, url, monkeypatch):
    store.append([record("r1")])
    ran = []
    monkeypatch.setattr(schema, "STEPS", [*schema.STEPS, lambda _: ran.append("second")])
    for _ in range(2):
        later = Store(url)
        later.open()
        assert len(later.log(0)) == 2
        later.close()
    assert ran == ["second"]


def test_a_store_of_a_later_version_is_refused(store, url, monkeypatch):
    monkeypatch.setattr(schema, "STEPS", [])
    earlier = Store(url)
    with pytest.raises(StartFailed, match="schema version 4, this alpharay knows 0"):
        earlier.open()
    earlier.close()


def test_a_step_that_fails_leaves_the_store_as_it_was(store, url, monkeypatch):
    def broken(connection):
        connection.exec_driver_sql("CREATE TABLE alpharay_half (x INTEGER)")
        raise RuntimeError

    monkeypatch.setattr(schema, "STEPS", [*schema.STEPS, broken])
    later = Store(url)
    with pytest.raises(RuntimeError):
        later.open()
    monkeypatch.undo()
    later.open()
    with later.reading() as connection:
        assert not connection.dialect.has_table(connection, "alpharay_half")
    later.close()


def test_a_killed_writer_loses_nothing_that_it_had_acknowledged(tmp_path):
    script = (
        "import sys\nfrom alpharay.serve.learn.store import Store\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from importlib.util import module_from_spec, spec_from_file_location\n"
        f"spec = spec_from_file_location('t', {__file__!r})\nt = module_from_spec(spec)\nspec.loader.exec_module(t)\n"
        f"store = Store('sqlite:///{tmp_path / 'store.db'}')\nstore.open()\n"
        "for number in range(100000):\n"
        "    store.append([t.record(f'r{number}')])\n    print(number, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    acknowledged = [int(process.stdout.readline()) for _ in range(20)][-1]
    process.send_signal(signal.SIGKILL)
    acknowledged += len(process.stdout.read().split())
    process.wait()
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    store.open()
    requests = {row.logged.request for row in store.log(0)}
    assert requests >= {f"r{number}" for number in range(acknowledged + 1)}
    assert len(store.log(0)) == 2 * len(requests)
    store.close()


def test_a_database_that_is_away_is_told_without_its_password(tmp_path):
    away = Store("postgresql+pg8000://user:hunter2@127.0.0.1:1/db")
    with pytest.raises(StoreDown) as down:
        away.open()
    assert "hunter2" not in str(down.value)
    assert "user:***@127.0.0.1:1/db" in str(down.value)
    messages = []
    url = ready_store("postgresql+pg8000://user:hunter2@127.0.0.1:1/db", tmp_path, tmp_path, messages.append)
    assert "hunter2" in url
    assert "hunter2" not in "".join(messages)
    assert "learning is paused" in messages[0]


def test_a_relative_path_counts_from_the_folder_one_is_in(tmp_path):
    messages = []
    url = ready_store("sqlite:///here.db", tmp_path, tmp_path / "cache", messages.append)
    assert (tmp_path / "here.db").exists()
    assert url == f"sqlite:///{tmp_path / 'here.db'}"


def test_no_store_in_the_configuration_means_a_file_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ready_store(None, tmp_path, tmp_path / "cache", lambda _: None)
    assert [file.name for file in tmp_path.iterdir()] == ["cache"]
    assert (tmp_path / "cache" / "store.db").exists()


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("sqlite://", "SQLite needs a file"),
        ("mongo://host/db", "no database that can be used"),
        ("nonsense", "must be a database URL"),
        ("mysql+pymysql://user:hunter2@host/db", "not installed"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url, names, tmp_path):
    with pytest.raises(ConfigError, match=names) as error:
        resolved(url, tmp_path)
    assert "hunter2" not in str(error.value)


def test_a_folder_that_cannot_be_written_ends_the_start(tmp_path):
    with pytest.raises(StartFailed, match="name a file that can be written"):
        ready_store(f"sqlite:///{tmp_path}/none/store.db", tmp_path, tmp_path, lambda _: None)


def test_options_of_a_url_are_not_shown():
    assert shown_url("postgresql://u:p@h/d?password=x&sslkey=y") == "postgresql://u:***@h/d"


def test_postgres_without_a_driver_named_takes_the_one_that_is_installed(tmp_path):
    assert resolved("postgresql://u:p@h/d", tmp_path).startswith("postgresql+p")
