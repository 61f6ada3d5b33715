"""`server.rollouts`: judged candidates of a server's requests, kept to train on."""

from __future__ import annotations

import hashlib
import json

import pyarrow.parquet as pq
import pytest

from alpharay.judge.verdict import VerdictKind
from alpharay.serve.errors import StartFailed
from alpharay.serve.learn.rollouts import live
from alpharay.serve.learn.rollouts.fields import ROLLOUT_SCHEMA
from alpharay.serve.learn.rollouts.live import LiveRollouts, ready_rollouts
from alpharay.serve.state.metrics import Counts

from .fakes import NAMES, TESTS
from .test_dialects import REQUESTS

PATHS = ("/v1/chat/completions", *REQUESTS)
CHAT = {"messages": [{"role": "user", "content": "a + b?"}]}


@pytest.fixture
def folder(tmp_path):
    messages = []
    ready_rollouts(tmp_path / "kept", messages.append)
    assert "prompts and answers" in messages[0]
    return tmp_path / "kept"


def rows(folder):
    return [row for path in folder.glob("rollouts/*.parquet") for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("path", PATHS)
async def test_every_judged_candidate_is_kept_whichever_dialect_it_is_in(serve, folder, path):
    serving = await serve(server={"rollouts": str(folder)})
    serving.judging.verdict = lambda text: (
        VerdictKind.ACCEPTED if text.startswith(NAMES[2]) else VerdictKind.WRONG_ANSWER
    )
    body = {"model": "frontier", **REQUESTS.get(path, CHAT), "temperature": 0.7}
    controls = {"tests": TESTS, "budget": 5, "stop_after_passes": 5}
    answer = await serving.http.post(path, json={**body, "alpharay": controls})
    assert answer.status_code == 200, answer.text
    await serving.server.rollouts.close()
    kept = rows(folder)
    assert sorted(row["member"] for row in kept) == sorted(NAMES)
    members = {member.name: member for member in serving.members}
    for row in kept:
        assert row["messages"] == [{"role": "user", "content": "a + b?"}]
        assert row["text"].startswith(row["member"])
        assert row["text_sha256"] == hashlib.sha256(row["text"].encode()).hexdigest()
        assert row["reward"] == (row["member"] == NAMES[2])
        assert row["checkpoint"] == members[row["member"]].sha256
        assert json.loads(row["options"])["temperature"] == 0.7
        tests = json.dumps(TESTS, sort_keys=True)
        assert row["tests_sha256"] == hashlib.sha256(tests.encode()).hexdigest()
        assert (row["request"], row["turn"], row["tool_runs"]) == (answer.json()["id"], 1, None)
    assert serving.counted("alpharay_rollouts_total", outcome="written") == 1


async def test_a_repair_has_the_conversation_that_it_answers(serve, folder):
    serving = await serve(server={"rollouts": str(folder)})
    # Whether a sample repairs is drawn: without a seed some requests of ten samples repair nothing.
    await serving.answer(seed=7, alpharay={"tests": TESTS, "budget": 10, "turns": 2})
    await serving.server.rollouts.close()
    repairs = [row for row in rows(folder) if row["turn"] == 2]
    assert repairs
    for row in repairs:
        assert [message["role"] for message in row["messages"]] == ["user", "assistant", "user"]
    assert len({row["problem"] for row in rows(folder)}) == 1


async def test_what_was_not_judged_against_the_callers_tests_is_not_kept(serve, folder):
    serving = await serve(server={"rollouts": str(folder)})
    await serving.answer()
    await serving.answer(alpharay={"budget": 3})
    serving.judging.away = True
    await serving.answer(alpharay={"tests": TESTS, "budget": 3})
    await serving.server.rollouts.close()
    assert not rows(folder)


async def test_without_a_folder_nothing_is_kept(serving):
    await serving.answer(alpharay={"tests": TESTS, "budget": 3})
    assert serving.server.rollouts is None


def row(sample):
    numbers = dict.fromkeys(("passed", "total", "prompt_tokens", "completion_tokens", "cpu_s", "seed"), 1)
    texts = dict.fromkeys(("problem", "member", "verdict", "text", "options", "checkpoint", "language"), "x")
    hashes = dict.fromkeys(("text_sha256", "tests_sha256"), "0")
    return {**numbers, **texts, **hashes, "sample": sample, "reward": 0.0, "messages": []}


async def test_what_a_kill_left_is_published_by_the_next_start_and_no_row_twice(folder):
    killed = LiveRollouts(folder, Counts())
    killed.take(lambda: [row(0), row(1)])
    await killed.write()
    (journal,) = folder.glob("journals/*.jsonl")
    beside = LiveRollouts(folder, Counts())
    await beside.close()  # another process that starts while the first is alive
    assert not rows(folder)
    written = journal.read_bytes()
    killed._publish(journal)  # the kill comes after the file and before the journal is gone
    journal.write_bytes(written + b'{"cut off')
    killed._journal.close()
    started = LiveRollouts(folder, Counts())
    await started.write()
    assert sorted(kept["sample"] for kept in rows(folder)) == [0, 1]
    assert not list(folder.glob("journals/*"))
    assert pq.read_schema(next(folder.glob("rollouts/*.parquet"))).names == ROLLOUT_SCHEMA.names


async def test_a_disk_that_is_full_loses_nothing_for_a_while(folder, monkeypatch):
    log = LiveRollouts(folder, Counts())

    def full(*_):
        raise OSError(28, "No space left on device")

    log.take(lambda: [row(0)])
    with monkeypatch.context() as patch:
        patch.setattr(live, "_append", full)
        await log.write()
    log.take(lambda: [row(1)])
    await log.close()
    assert sorted(kept["sample"] for kept in rows(folder)) == [0, 1]


async def test_what_waits_for_a_disk_is_bounded_and_counted(folder, monkeypatch):
    monkeypatch.setattr(live, "_MOST_WAITING", 2)
    counts = Counts()
    log = LiveRollouts(folder, counts)
    for sample in range(5):
        log.take(lambda sample=sample: [row(sample)])
    await log.close()
    assert len(rows(folder)) == 2
    assert counts.rollouts.labels("dropped")._value.get() == 3


def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StartFailed, match=r"server\.rollouts"):
        ready_rollouts(tmp_path / "file", print)
