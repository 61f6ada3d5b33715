"""Feedback over HTTP, what it teaches, and a live request that is decided again from the store."""

from __future__ import annotations

import asyncio
import threading
import zlib
from dataclasses import replace

import pytest

from alpharay.judge.verdict import VerdictKind
from alpharay.serve.learn.learning import Learning, Retention, router_state_at
from alpharay.serve.learn.recording import folded_of, portfolio_of, replayed
from alpharay.serve.learn.store import Store, UnknownRequest
from alpharay.serve.state.metrics import Counts

from .clock import pass_time
from .fakes import question, served_members

TESTS = {"kind": "stdio", "cases": [{"input": "1", "output": "2"}]}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
async def stored(serve, url):
    return await serve(store=Store(url))


async def feedback(serving, **body):
    return await serving.http.post("/v1/feedback", json=body)


async def test_feedback_is_stored_before_it_is_acknowledged_and_teaches(stored, url):
    answer = await stored.answer()
    response = await feedback(stored, id=answer["id"], choice=0, verdict="accepted")
    assert response.status_code == 200, response.text
    assert response.json() == {
        "object": "feedback", "id": answer["id"], "choice": 0, "verdict": "accepted", "new": True,
    }  # fmt: skip
    assert [row.logged.verdict for row in Store(url).log(0)] == ["accepted"]
    member = answer["choices"][0]["alpharay"]["member"]
    assert dict(stored.server.learning.router_state().solved) == {member: 1}


async def test_saying_it_again_changes_nothing_and_another_verdict_replaces_it(stored):
    answer = await stored.answer()
    member = answer["choices"][0]["alpharay"]["member"]
    news = [
        (await feedback(stored, id=answer["id"], choice=0, verdict=verdict)).json()["new"]
        for verdict in ("accepted", "accepted", "wrong_answer")
    ]
    assert news == [True, False, True]
    router_state = stored.server.learning.router_state()
    assert (router_state.judged[member], router_state.solved[member]) == (1, 0)


async def test_feedback_on_a_judged_candidate_corrects_it(stored):
    stored.judging.verdict = lambda _: VerdictKind.ACCEPTED
    answer = await stored.answer(alpharay={"tests": TESTS, "budget": 1})
    await feedback(stored, id=answer["id"], choice=0, verdict="wrong_answer")
    member = answer["choices"][0]["alpharay"]["member"]
    router_state = stored.server.learning.router_state()
    assert (router_state.judged[member], router_state.solved[member]) == (1, 0)


async def test_feedback_names_the_choice_that_was_answered(stored):
    answer = await stored.answer(n=3, alpharay={"budget": 5})
    await feedback(stored, id=answer["id"], choice=2, verdict="time_limit")
    assert dict(stored.server.learning.router_state().judged) == {
        answer["choices"][2]["alpharay"]["member"]: 1
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_a_pinned_member_takes_feedback(stored, stream):
    engines, answer = stored.engines, stored.engines.answer
    engines.answer = lambda member, request: {  # as vLLM makes its id
        **answer(member, request),
        "id": f"chatcmpl-{engines.calls[-1][2]['x-request-id']}",
    }
    if stream:
        events, _ = await stored.events(model="frontier@1.5")
        name = events[0]["id"]
    else:
        name = (await stored.answer(model="frontier@1.5"))["id"]
    response = await feedback(stored, id=name, verdict="runtime_error")
    assert response.status_code == 200, response.text
    assert dict(stored.server.learning.router_state().judged) == {"frontier@1.5": 1}


async def test_an_id_that_no_answer_has_is_not_found(stored):
    for name in ("chatcmpl-" + "0" * 32, "resp_nothing", ""):
        response = await feedback(stored, id=name, choice=0, verdict="accepted")
        assert response.status_code == 404
        assert response.json()["error"]["param"] == "id"


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"verdict": "acepted"}, "verdict", "did you mean 'accepted'?"),
        ({"verdict": "judge_error"}, "verdict", "not known"),
        ({"verdict": None}, "verdict", "known are accepted"),
        ({"choice": 1}, "choice", "has 1 choices, there is no choice 1"),
        ({"choice": -1}, "choice", "from 0"),
        ({"choice": True}, "choice", "from 0"),
        ({"choice": "0"}, "choice", "from 0"),
        ({"id": 7}, "id", "as a string"),
        ({"verdicts": "accepted"}, "verdicts", "did you mean 'verdict'?"),
    ],
)
async def test_feedback_that_cannot_be_is_refused_by_its_field(stored, change, param, says):
    answer = await stored.answer()
    response = await feedback(stored, **{"id": answer["id"], "choice": 0, "verdict": "accepted", **change})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert says in error["message"]
    assert not stored.server.learning.router_state().judged


async def test_feedback_without_a_store_that_answers_is_not_acknowledged(serve):
    serving = await serve(store=Store("postgresql+pg8000://user:hunter2@127.0.0.1:1/db"))
    answer = await serving.answer()
    response = await feedback(serving, id=answer["id"], choice=0, verdict="accepted")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert "hunter2" not in response.text


@pytest.mark.parametrize(("bound", "most"), [("_MOST_WAITING", 3), ("_MOST_DRAWS", 6)])
async def test_what_could_not_be_stored_waits_and_is_then_dropped_and_counted(
    serve, monkeypatch, bound, most
):
    monkeypatch.setattr(f"alpharay.serve.learn.learning.{bound}", most)
    serving = await serve(store=Store("postgresql+pg8000://user:hunter2@127.0.0.1:1/db"))
    for _ in range(5):
        await serving.answer(alpharay={"tests": TESTS, "budget": 2})
    await serving.server.learning.exchange()
    assert serving.server.learning.waiting == 3
    assert serving.counted("alpharay_store_records_total", outcome="dropped") == 2
    page = (await serving.http.get("/metrics")).text
    assert "alpharay_store_up 0.0" in page


async def test_a_store_that_comes_back_gets_what_waited(serve, url, monkeypatch):
    store = Store(url)
    serving = await serve(store=store)
    with monkeypatch.context() as away:
        away.setattr(store._engine, "begin", Store("postgresql+pg8000://u@127.0.0.1:1/db")._engine.begin)
        await serving.answer(alpharay={"tests": TESTS, "budget": 2})
        await serving.server.learning.exchange()
        assert serving.server.learning.down
    await serving.server.learning.exchange()
    assert not serving.server.learning.down
    assert len(store.log(0)) == 2
    assert sum(serving.server.learning.router_state().judged.values()) == 2


async def test_replicas_learn_what_the_others_wrote(serve, url):
    first, second = await serve(store=Store(url)), await serve(store=Store(url))
    first.judging.verdict = lambda text: (
        VerdictKind.ACCEPTED if "frontier@1 " in text else VerdictKind.WRONG_ANSWER
    )
    for _ in range(3):
        await first.answer(alpharay={"tests": TESTS, "budget": 20})
    await first.server.learning.exchange()
    await second.server.learning.exchange()
    assert second.server.learning.router_state().judged
    assert second.server.learning._fold.learner.snapshot() == first.server.learning._fold.learner.snapshot()


async def test_a_new_replica_goes_on_from_a_snapshot_to_the_same_state(serve, url, monkeypatch):
    monkeypatch.setattr("alpharay.serve.learn.learning.SNAPSHOT_EVERY", 10)
    first = await serve(store=Store(url))
    for _ in range(4):
        await first.answer(alpharay={"tests": TESTS, "budget": 7})
        await first.server.learning.exchange()
    later = Learning(Store(url), served_members(), Counts())
    read = []
    monkeypatch.setattr(
        Store,
        "log",
        lambda self, after, log=Store.log, **kwargs: read.append(after) or log(self, after, **kwargs),
    )
    await later.exchange()
    assert read[0] > 0  # not from the start
    assert later._fold.learner.snapshot() == first.server.learning._fold.learner.snapshot()


async def test_a_record_that_cannot_be_written_is_dropped_and_holds_up_no_other(stored, monkeypatch):
    whole = Store.append

    def append(self, records):
        if any(record.request == bad for record in records):
            raise TypeError("no JSON")
        whole(self, records)

    answers = [await stored.answer(alpharay={"tests": TESTS, "budget": 2}) for _ in range(3)]
    bad = answers[1]["id"].removeprefix("chatcmpl-")
    monkeypatch.setattr(Store, "append", append)
    await stored.server.learning.exchange()
    assert (stored.server.learning.waiting, stored.server.learning.down) == (0, "")
    assert stored.counted("alpharay_store_records_total", outcome="written") == 2
    assert stored.counted("alpharay_store_records_total", outcome="dropped") == 1
    assert sum(stored.server.learning.router_state().judged.values()) == 4


async def test_a_row_of_the_log_that_cannot_be_read_stops_no_learning_and_is_counted(stored, url):
    await stored.answer(alpharay={"tests": TESTS, "budget": 2})
    await stored.server.learning.exchange()
    with Store(url).writing() as connection:
        connection.exec_driver_sql("UPDATE alpharay_experiences SET row = 'x' WHERE seq = 2")
    later = Learning(Store(url), served_members(), stored.server.counts)
    await later.exchange()
    assert (later.down, sum(later.router_state().judged.values())) == ("", 1)
    assert stored.counted("alpharay_store_skipped_rows_total") == 1


async def test_what_cannot_be_learnt_in_memory_is_no_fault_of_the_request(serving, monkeypatch):
    monkeypatch.setattr("alpharay.router.Learner.learn", lambda *_: 1 / 0)
    await serving.answer(alpharay={"tests": TESTS, "budget": 2})
    assert serving.counted("alpharay_store_skipped_rows_total") == 2


async def test_old_records_are_deleted_while_it_serves(serve, url, monkeypatch):
    pruned, prune = threading.Event(), Store.prune
    monkeypatch.setattr(Store, "prune", lambda *arguments: prune(*arguments) or pruned.set())
    serving = await serve(store=Store(url), store_keep="1h")
    answers = [await serving.answer(alpharay={"tests": TESTS, "budget": 2}) for _ in range(2)]
    learning = serving.server.learning
    await learning.exchange()
    with Store(url).writing() as connection:
        old = answers[0]["id"].removeprefix("chatcmpl-")
        connection.exec_driver_sql("UPDATE alpharay_requests SET at = at - 3601 WHERE id = ?", (old,))
    forgetting = asyncio.create_task(learning.forget_forever())
    await pass_time(700)
    assert await asyncio.to_thread(pruned.wait, 60)
    forgetting.cancel()
    with pytest.raises(UnknownRequest):
        Store(url).trace(old)
    assert len(Store(url).log(0)) == 2


async def test_what_is_deleted_for_want_of_room_stays_learnt(serve, url, monkeypatch):
    pruned, prune = threading.Event(), Store.prune
    monkeypatch.setattr(Store, "prune", lambda *arguments: prune(*arguments) or pruned.set())
    serving = await serve(store=Store(url))
    for _ in range(3):
        await serving.answer(alpharay={"tests": TESTS, "budget": 2})
    await serving.server.learning.exchange()
    tight = Learning(Store(url), served_members(), Counts(), retention=Retention(size=1))
    await tight.exchange()
    forgetting = asyncio.create_task(tight.forget_forever())
    await pass_time(700)
    assert await asyncio.to_thread(pruned.wait, 60)
    forgetting.cancel()
    assert (Store(url).size(), Store(url).log(0)) == (0, [])
    later = Learning(Store(url), served_members(), Counts())
    await later.exchange()
    assert sum(later.router_state().judged.values()) == 6


@pytest.mark.parametrize(
    ("retention", "forgets"),
    [(Retention(), False), (Retention(seconds=60.0), True), (Retention(size=1), True)],
)
def test_where_everything_is_kept_nothing_is_forgotten(retention, forgets):
    assert Learning(None, served_members(), Counts(), retention=retention).forgets is forgets


async def test_other_checkpoints_of_the_same_name_teach_nothing(serve, url):
    first = await serve(store=Store(url))
    await first.answer(alpharay={"tests": TESTS, "budget": 7})
    await first.server.learning.exchange()
    others = [replace(member, sha256="f" * 64) for member in served_members()]
    later = Learning(Store(url), others, Counts())
    await later.exchange()
    assert not later.router_state().judged


@pytest.mark.parametrize("policy", ["uniform", "single", "portfolio", "bandit", "adaptive"])
async def test_a_live_request_taken_from_the_store_is_decided_again(serve, url, policy):
    """Same draws, same selection, with what was known at that moment and nothing learnt since."""
    store = Store(url)
    serving = await serve(store=store)
    serving.judging.verdict = lambda text: (
        VerdictKind.ACCEPTED if zlib.crc32(text.encode()) % 17 == 0 else VerdictKind.TIME_LIMIT
    )
    answers = []
    for number in range(6):
        body = question(messages=[{"role": "user", "content": f"problem {number}: sum {number} primes"}])
        controls = {"tests": TESTS, "budget": 24, "policy": policy, "return": "all"}
        answers.append(await serving.answer(**body, alpharay=controls))
        await serving.server.learning.exchange()
    for answer in answers:
        trace = store.trace(answer["id"].removeprefix("chatcmpl-"))
        router_state = router_state_at(store, trace["checkpoints"], folded_of(trace), portfolio_of(trace))
        session = replayed(trace, router_state)
        mine = [(candidate.draw.member, candidate.draw.seed) for candidate in session.select()]
        theirs = [(choice["alpharay"]["member"], choice["alpharay"]["seed"]) for choice in answer["choices"]]
        assert mine == theirs
        assert session.drawn == {
            name: counts["drawn"] for name, counts in answer["alpharay"]["members"].items()
        }
        assert session.stopped.value == answer["alpharay"]["stopped"]
    assert folded_of(trace) > 0


async def test_recording_is_not_in_the_way_of_a_request(serve):
    """The store hangs; answers come all the same."""

    class Hanging(Store):
        def open(self):
            raise AssertionError("a request waited for the store")

    serving = await serve(store=Hanging("sqlite:////nowhere/store.db"))
    assert await serving.answer(alpharay={"tests": TESTS, "budget": 2})
