"""OpenAI's Batch API: files and batches, run as requests of the key that made them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from types import SimpleNamespace

import httpx
import openai
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from alpharay.judge.verdict import VerdictKind
from alpharay.serve import tracing
from alpharay.serve.gateway.batches import service
from alpharay.serve.gateway.batches.slots import Slots
from alpharay.serve.gateway.ingress import Ingress
from alpharay.serve.state.cluster_state import ClusterState, MemberReport, Phase
from alpharay.serve.state.revision import AnnouncedRevision
from tests.serve.fakes import (
    NAMES,
    Call,
    FakeEngines,
    FakeJudging,
    Handle,
    ReplicaHandle,
    Serving,
    config,
    question,
    refusal,
    served_members,
    until,
)

from .conftest import line, with_tests

BODIES = {
    "/v1/chat/completions": {},
    "/v1/completions": {"model": "frontier", "prompt": "a + b?"},
    "/v1/responses": {"model": "frontier", "input": "a + b?"},
    "/v1/messages": {
        "model": "frontier",
        "messages": [{"role": "user", "content": "a + b?"}],
        "max_tokens": 9,
    },
}


@pytest.mark.parametrize("endpoint", BODIES)
async def test_the_official_client_has_a_file_answered_on_each_endpoint(batching, endpoint):
    serving = await batching()
    batch = await serving.begin(
        [line(n, endpoint, **BODIES[endpoint]) for n in range(3)], endpoint=endpoint, metadata={"run": "1"}
    )
    assert (batch.status, batch.metadata) == ("in_progress", {"run": "1"})
    batch = await serving.ended(batch)
    assert batch.status == "completed"
    assert batch.request_counts.model_dump() == {"completed": 3, "failed": 0, "total": 3}
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (21, 9)
    assert batch.error_file_id is None
    answers = await serving.content(batch.output_file_id)
    assert set(answers) == {"0", "1", "2"}
    for answer in answers.values():
        assert answer["error"] is None
        assert answer["response"]["status_code"] == 200
        assert answer["response"]["body"]["model"] == "frontier"
        assert "alpharay" in answer["response"]["body"]


async def test_files_are_listed_page_by_page_and_deleted(batching):
    serving = await batching(run=False)
    files = [await serving.upload([line(n)]) for n in range(3)]
    page = await serving.client.files.list(limit=2)
    assert [file.id for file in page.data] == [files[2].id, files[1].id]
    assert [file.id for file in (await page.get_next_page()).data] == [files[0].id]
    assert [file.id async for file in serving.client.files.list(order="asc", limit=1)] == [
        f.id for f in files
    ]
    assert not (await serving.client.files.list(purpose="batch_output")).data
    retrieved = await serving.client.files.retrieve(files[0].id)
    assert (retrieved.filename, retrieved.purpose, retrieved.bytes) == ("in.jsonl", "batch", files[0].bytes)
    assert (await serving.client.files.delete(files[0].id)).deleted
    with pytest.raises(openai.NotFoundError, match=files[0].id):
        await serving.client.files.content(files[0].id)


async def test_batches_are_listed_page_by_page(batching):
    serving = await batching(run=False)
    batches = [await serving.begin([line(n)]) for n in range(3)]
    ids = [batch.id async for batch in serving.client.batches.list(limit=1)]
    assert ids == [batch.id for batch in reversed(batches)]


async def test_what_cannot_be_a_request_is_named_by_its_line(batching):
    serving = await batching()
    lines = [
        line("fine"),
        "{not json}\n",
        "\n",
        line("fine"),
        line("other", "/v1/completions"),
        line("streamed", stream=True),
        {**line("get"), "method": "GET"},
        {"custom_id": 7},
    ]
    batch = await serving.begin(lines)
    assert batch.status == "failed"
    assert {error.line: error.code for error in batch.errors.data} == {
        2: "invalid_json_line",
        4: "duplicate_custom_id",
        5: "invalid_url",
        6: "invalid_body",
        7: "invalid_method",
        8: "invalid_custom_id",
    }
    assert "line 5" in batch.errors.data[2].message
    assert not serving.engines.calls


async def test_an_empty_file_makes_a_failed_batch(batching):
    serving = await batching()
    batch = await serving.begin(["\n"])
    assert (batch.status, batch.errors.data[0].code) == ("failed", "empty_file")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"a": "b" * 600}}, "metadata"),
        ({"alpharay": {"budget": 0}}, "alpharay.budget"),
        ({"alpharay": {"budget": 3, "tests": {}}}, "alpharay.tests"),
    ],
)
async def test_what_cannot_be_a_batch_is_a_400_that_names_the_field(batching, body, param):
    serving = await batching(run=False)
    request = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "input_file_id": "file-1"}
    answer = await serving.http.post("/v1/batches", json=request | body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("name", ["/v1/files", "/v1/batches"])
@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "9" * 5000}, {"limit": "x"}])
async def test_a_page_of_no_size_is_a_400(batching, name, query):
    serving = await batching(run=False)
    assert (await serving.http.get(name, params=query)).status_code == 400


async def test_text_that_no_database_holds_is_a_400(batching):
    serving = await batching(run=False)
    body = b'{"endpoint": "/v1/messages", "completion_window": "24h", "input_file_id": "\\ud800"}'
    answer = await serving.http.post(
        "/v1/batches", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400


async def test_what_a_kill_left_half_done_is_swept_and_what_is_open_is_not(batching):
    serving = await batching(run=False)
    batch = await serving.begin([line(0)])
    folder = serving.batches.folder
    orphan, upload = folder.batch("batch_orphan"), folder.batch("x").parent.parent / "incoming" / "part"
    orphan.mkdir()
    upload.touch()
    for path in (orphan, upload, folder.batch(batch.id)):
        os.utime(path, (0, 0))
    await serving.batches.look()
    assert not orphan.exists()
    assert not upload.exists()
    serving.run()
    assert (await serving.ended(batch)).status == "completed"


async def test_a_request_that_is_refused_is_in_the_error_file_and_the_others_are_answered(batching):
    serving = await batching()
    batch = await serving.ended(
        await serving.begin([line("bad", alpharay={"budgets": 3}), line("good"), line("lost", model="other")])
    )
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 2)
    assert set(await serving.content(batch.output_file_id)) == {"good"}
    errors = await serving.content(batch.error_file_id)
    assert errors["bad"]["response"]["status_code"] == 400
    assert "did you mean 'budget'" in errors["bad"]["response"]["body"]["error"]["message"]
    assert errors["lost"]["response"]["status_code"] == 404


async def test_a_request_that_the_engine_refuses_has_the_engines_words(batching):
    serving = await batching(alphas=(1.0,))
    serving.engines.faults = {"frontier@1": [refusal(400, "too hot", "temperature")]}
    batch = await serving.ended(await serving.begin([line("hot")]))
    (error,) = (await serving.content(batch.error_file_id)).values()
    assert error["response"]["body"]["error"]["message"] == "too hot"


async def test_a_cancelled_batch_frees_the_engines_and_keeps_what_was_done(batching):
    serving = await batching(alphas=(1.0,))
    batch = await serving.begin([line(0)])
    await serving.ended(batch)
    serving.engines.seconds = {"frontier@1": 600}
    batch = await serving.begin([line(n) for n in range(5)])
    await until(lambda: len(serving.engines.held) == 5)
    cancelled = await serving.client.batches.cancel(batch.id)
    assert cancelled.status == "cancelling"
    await until(lambda: not serving.engines.held)
    batch = await serving.ended(batch)
    assert batch.status == "cancelled"
    assert batch.output_file_id is None
    errors = await serving.content(batch.error_file_id)
    assert {error["error"]["code"] for error in errors.values()} == {"batch_cancelled"}
    assert len(errors) == 5
    with pytest.raises(openai.ConflictError):
        await serving.client.batches.cancel((await serving.ended(await serving.begin(["\n"]))).id)


async def test_after_a_kill_what_was_done_is_not_done_again_and_the_rest_is(batching):
    first = await batching(alphas=(1.0,))
    done = asyncio.Event()

    def answer(member, body):
        if len(first.engines.calls) > 6:
            done.set()
            first.engines.seconds = {"frontier@1": 600}
        return type(first.engines).answer(member, body)

    first.engines.answer = answer
    first.batches._slots.limit = 1
    batch = await first.begin([line(n, seed=n) for n in range(20)])
    await done.wait()
    await until(lambda: first.engines.held)
    answered = len(first.engines.calls) - 1
    await first.kill()
    second = await batching(alphas=(1.0,))
    batch = await second.ended(batch)
    assert batch.status == "completed"
    assert batch.request_counts.completed == 20
    assert len(second.engines.calls) == 20 - answered
    assert len(await second.content(batch.output_file_id)) == 20


async def test_of_two_processes_one_runs_a_batch_and_the_other_takes_over_at_its_end(batching):
    first, second = await batching(alphas=(1.0,)), await batching(alphas=(1.0,))
    first.engines.seconds = second.engines.seconds = {"frontier@1": 600}
    batch = await first.begin([line(n) for n in range(4)])
    await until(lambda: first.engines.held or second.engines.held)
    owner, other = (first, second) if first.engines.held else (second, first)
    await other.batches.look()
    assert not other.engines.calls
    other.engines.seconds = {}
    await owner.kill()
    assert (await other.ended(batch)).request_counts.completed == 4


async def test_a_batch_is_cancelled_through_a_process_that_does_not_run_it(batching):
    owner, other = await batching(alphas=(1.0,)), await batching(alphas=(1.0,), run=False)
    owner.engines.seconds = {"frontier@1": 600}
    batch = await owner.begin([line(0)])
    await until(lambda: owner.engines.held)
    await other.client.batches.cancel(batch.id)
    assert (await owner.ended(batch)).status == "cancelled"


async def test_at_the_end_of_its_window_a_batch_expires_with_what_it_has(batching, monkeypatch):
    serving = await batching(alphas=(1.0,))
    serving.engines.seconds = {"frontier@1": 600}
    batch = await serving.begin([line(0)])
    await until(lambda: serving.engines.held)
    assert batch.expires_at == batch.created_at + 86400
    monkeypatch.setattr(
        service, "time", SimpleNamespace(time=lambda: time.time() + 86401, monotonic=time.monotonic)
    )
    batch = await serving.ended(batch)
    assert batch.status == "expired"
    (error,) = (await serving.content(batch.error_file_id)).values()
    assert error["response"] is None
    assert error["error"]["code"] == "batch_expired"


async def test_a_deleted_input_file_does_not_end_its_batch(batching):
    serving = await batching(run=False)
    batch = await serving.begin([line(n) for n in range(3)])
    await serving.client.files.delete(batch.input_file_id)
    serving.run()
    assert (await serving.ended(batch)).request_counts.completed == 3


async def test_files_and_batches_of_another_key_are_not_there(batching, key_file):
    path, secrets = key_file(alice={}, bob={})
    serving = await batching(server={"api_keys_file": path})
    alice, bob = serving.client_of(secrets["alice"]), serving.client_of(secrets["bob"])
    batch = await serving.ended(await serving.begin([line(0)], alice), alice)
    assert batch.status == "completed"
    for call in (
        bob.files.retrieve(batch.input_file_id),
        bob.files.content(batch.output_file_id),
        bob.files.delete(batch.input_file_id),
        bob.batches.retrieve(batch.id),
        bob.batches.cancel(batch.id),
        bob.batches.create(
            input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
        ),
    ):
        with pytest.raises(openai.NotFoundError):
            await call
    assert not (await bob.files.list()).data
    assert not (await bob.batches.list()).data
    with pytest.raises(openai.AuthenticationError):
        await serving.client.files.list()


async def test_a_batchs_requests_are_its_keys_and_wait_for_the_keys_limits(batching, key_file):
    path, secrets = key_file(alice={"concurrent": 2, "max_budget": 3})
    serving = await batching(server={"api_keys_file": path})
    alice = serving.client_of(secrets["alice"])
    batch = await serving.begin([line(n, alpharay={"budget": 8}) for n in range(4)], alice)
    batch = await serving.ended(batch, alice)
    assert batch.request_counts.completed == 4
    for answer in (await serving.content(batch.output_file_id, alice)).values():
        assert answer["response"]["body"]["alpharay"]["clamped"] == "the key's max_budget"
    assert serving.server.admission.limits.used()["alice"].samples == 12


async def test_requests_of_a_key_that_is_gone_are_refused(batching, key_file):
    path, secrets = key_file(alice={}, bob={})
    serving = await batching(server={"api_keys_file": path}, run=False)
    alice = serving.client_of(secrets["alice"])
    batch = await serving.begin([line(0)], alice)
    kept, _ = key_file(bob={})
    assert kept == path
    serving.server.admission.keys.look()
    serving.run()
    await until(lambda: not serving.batches.folder.batch(batch.id).exists())
    stored = await serving.batches.blocking(serving.batches.tables.batch, batch.id, "alice")
    assert stored.object["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    assert not serving.engines.calls


@pytest.mark.parametrize(
    ("bounds", "error"),
    [
        ({"max_file_mb": 0.0001}, openai.APIStatusError),
        ({"max_files": 1}, openai.RateLimitError),
        ({"max_key_mb": 0.0003}, openai.RateLimitError),
    ],
)
async def test_what_a_key_may_keep_is_bounded(batching, bounds, error):
    serving = await batching(bounds=bounds, run=False)
    uploads = [serving.upload([line(0)]) for _ in range(3)]
    with pytest.raises(error) as refused:
        [await upload for upload in uploads]
    [upload.close() for upload in uploads]
    assert refused.value.status_code == (413 if "max_file_mb" in bounds else 429)
    kept = list(serving.batches.folder.file("x").parent.iterdir())
    assert len(kept) == len((await serving.client.files.list()).data)


async def test_a_keys_open_batches_and_a_batchs_requests_are_bounded(batching):
    serving = await batching(bounds={"max_open": 1, "max_requests": 2}, run=False)
    batch = await serving.begin([line(n) for n in range(3)])
    assert (batch.status, batch.errors.data[0].code) == ("failed", "too_many_requests")
    await serving.begin([line(0)])
    with pytest.raises(openai.RateLimitError, match="1 batches"):
        await serving.begin([line(0)])


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"files": {"file": ("a", b"{}")}, "data": {"purpose": "fine-tune"}}, "purpose"),
        ({"files": {"other": ("a", b"{}")}, "data": {"purpose": "batch"}}, "`file`"),
        ({"json": {}}, "multipart/form-data"),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, "boundary"),
    ],
)
async def test_an_upload_that_is_none_is_refused_with_the_way_out(batching, form, says):
    serving = await batching(run=False)
    answer = await serving.http.post("/v1/files", **form)
    assert answer.status_code in {400, 415}
    assert says in answer.json()["error"]["message"]


async def test_an_upload_whose_client_leaves_leaves_nothing(batching):
    serving = await batching(run=False)
    call = Call(
        serving.app,
        [b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{'],
        path="/v1/files",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    call._inbox.put_nowait({"type": "http.disconnect"})
    await call.end()
    assert not list((serving.batches.folder.file("x").parent.parent / "incoming").iterdir())


async def test_what_has_expired_is_deleted_from_the_store_and_the_disk(batching, monkeypatch):
    serving = await batching(run=False)
    file = await serving.upload([line(0)], expires_after={"anchor": "created_at", "seconds": 3600})
    kept = await serving.upload([line(0)])
    assert file.expires_at == file.created_at + 3600
    monkeypatch.setattr(
        service, "time", SimpleNamespace(time=lambda: time.time() + 3601, monotonic=time.monotonic)
    )
    await serving.batches.look()
    assert [listed.id for listed in (await serving.client.files.list()).data] == [kept.id]
    assert not serving.batches.folder.file(file.id).exists()


async def test_a_batchs_samples_come_after_everybody_elses_in_the_engines(batching):
    serving = await batching()
    await serving.ended(await serving.begin([line(0), line(1, alpharay={"budget": 6})]))
    batch = [int(headers["x-vllm-priority"]) for _, _, headers in serving.engines.calls]
    serving.engines.calls.clear()
    await serving.answer(alpharay={"budget": 500})
    others = [int(headers["x-vllm-priority"]) for _, _, headers in serving.engines.calls]
    assert min(batch) > max(others)


async def test_a_batchs_requests_take_no_place_of_those_that_somebody_waits_for(batching):
    serving = await batching(alphas=(1.0,), server={"max_queued": 1})
    serving.engines.seconds = {"frontier@1": 0.3}
    batch = await serving.begin([line(n) for n in range(8)])
    await until(lambda: len(serving.engines.held) == 8)
    assert (await serving.chat()).status_code == 200
    await serving.ended(batch)


async def test_batches_begin_fewer_requests_while_others_wait_for_the_engines():
    slots = Slots(256)
    for _ in range(32):
        await slots.acquire()
    slots.adapt(waited_for=False)
    assert slots.limit == 64
    for _ in range(4):
        slots.adapt(waited_for=True)
    waiting = asyncio.ensure_future(slots.acquire())
    await asyncio.sleep(0)
    assert not waiting.done()
    for _ in range(slots.taken - slots.limit + 1):
        slots.release()
    await waiting
    assert slots.taken == slots.limit


async def test_who_gives_up_waiting_for_a_slot_leaves_it_to_the_next():
    slots = Slots(1)
    await slots.acquire()
    first, second = (asyncio.ensure_future(slots.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    slots.release()
    first.cancel()
    await second
    assert slots.taken == 1


async def test_a_drain_stops_batches_at_once_and_they_go_on_later(batching):
    serving = await batching(alphas=(1.0,))
    serving.engines.seconds = {"frontier@1": 600}
    batch = await serving.begin([line(0)])
    await until(lambda: serving.engines.held)
    serving.server.drain(30)
    await until(lambda: not serving.server.admission.in_flight)
    later = await batching(alphas=(1.0,))
    assert (await later.ended(batch)).status == "completed"


async def test_a_server_that_cannot_answer_now_is_waited_for(batching, monkeypatch):
    serving = await batching(alphas=(1.0,))
    problem = ["no member can answer"]
    monkeypatch.setattr(serving.server.cluster, "not_ready", lambda: problem[0] if problem else None)
    batch = await serving.begin([line(0)])
    await until(lambda: serving.batches._active)
    await asyncio.sleep(0)
    assert not serving.engines.calls
    problem.clear()
    assert (await serving.ended(batch)).request_counts.completed == 1


async def test_a_judge_that_is_away_is_waited_for(batching, monkeypatch):
    serving = await batching(alphas=(1.0,))
    monkeypatch.setattr("alpharay.serve.gateway.batches.run._LONGEST_PAUSE_S", 0.01)
    serving.judging.verdict = lambda _: VerdictKind.ACCEPTED
    serving.judging.away = True
    calls = []

    async def back(*arguments):
        calls.append(arguments)
        serving.judging.away = len(calls) < 3
        return await type(serving.judging).judge(serving.judging, *arguments)

    serving.judging.judge = back
    batch = await serving.ended(await serving.begin([with_tests("a", "a?")]))
    (answer,) = (await serving.content(batch.output_file_id)).values()
    assert answer["response"]["body"]["choices"][0]["alpharay"]["verdict"] == "accepted"


async def test_a_batch_goes_on_with_the_checkpoints_that_the_server_moves_to(tmp_path):
    cluster_state = ClusterState(list(NAMES))
    up = MemberReport(phase=Phase.UP, instance="first")
    await cluster_state.report_members("replica", dict.fromkeys(NAMES, up))
    engines, old = (FakeEngines(), FakeEngines()), served_members()
    new = tuple(replace(member, sha256=f"{number:064x}") for number, member in enumerate(old, 100))
    hosts = [dict.fromkeys(NAMES, ReplicaHandle(fakes, "sample")) for fakes in engines]
    served = config(
        store=f"sqlite:///{tmp_path / 'store.db'}",
        server={"batches": {"folder": str(tmp_path / "files"), "max_under_way": 1}},
    )
    ingress = object.__new__(type("Bare", (Ingress,), {"__del__": lambda _: None}))
    await ingress.__init__(served, old, hosts[0], FakeJudging(), Handle(cluster_state), lambda _: "127.0.0.1")
    transport = httpx.ASGITransport(app=ingress.__serve_build_asgi_app__())
    async with httpx.AsyncClient(transport=transport, base_url="http://frontier") as http:
        client = openai.AsyncOpenAI(base_url="http://frontier/v1", api_key="x", http_client=http)
        engines[0].seconds[NAMES[0]] = 2.0
        text = "\n".join(json.dumps(line(n, **question(model=NAMES[0]))) for n in range(2))
        file = await client.files.create(file=("in.jsonl", text.encode()), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        await until(lambda: engines[0].held)
        await cluster_state.announce(AnnouncedRevision(number=1, config=served, members=new, hosts=hosts[1]))
        async with asyncio.timeout(20):
            while (batch := await client.batches.retrieve(batch.id)).status != "completed":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        text = (await client.files.content(batch.output_file_id)).text
    await Ingress.__del__(ingress)
    answers = [json.loads(answer)["response"]["body"] for answer in text.splitlines()]
    checkpoints = [answer["choices"][0]["alpharay"]["checkpoint"] for answer in answers]
    assert checkpoints == [old[0].sha256, new[0].sha256]


async def test_each_request_of_a_batch_has_a_trace_that_names_the_batch(batching, monkeypatch):
    exporter = InMemorySpanExporter()
    tracer = tracing.tracer_of(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", lambda: tracer)
    serving = await batching()
    batch = await serving.ended(await serving.begin([with_tests(n, "a + b?") for n in range(2)]))
    roots = [span for span in exporter.get_finished_spans() if span.parent is None]
    assert len({span.context.trace_id for span in roots}) == 2
    assert {span.attributes["alpharay.batch.id"] for span in roots} == {batch.id}
    assert {span.attributes["alpharay.batch.custom_id"] for span in roots} == {"0", "1"}
    assert {(span.name, span.kind) for span in roots} == {("chat frontier", SpanKind.CONSUMER)}
    answers = await serving.content(batch.output_file_id)
    assert {span.attributes["gen_ai.response.id"] for span in roots} == {
        answer["response"]["body"]["id"] for answer in answers.values()
    }


async def test_what_a_batch_has_cost_is_its_keys_usage(batching, key_file):
    path, secrets = key_file(alice={})
    serving = await batching(server={"api_keys_file": path})
    alice = serving.client_of(secrets["alice"])
    batch = await serving.begin(
        [with_tests(n, "a + b?") for n in range(2)], alice, extra_body={"alpharay": {"budget": 6}}
    )
    batch = await serving.ended(batch, alice)
    headers = {"Authorization": f"Bearer {secrets['alice']}"}
    (usage,) = (await serving.http.get("/v1/usage", headers=headers)).json()["data"]
    assert usage["samples"] == 6
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (
        batch.usage.input_tokens,
        batch.usage.output_tokens,
    )


async def test_a_server_without_a_store_says_so():
    serving = Serving()
    await serving.all_up()
    answer = await serving.http.get("/v1/files")
    assert answer.status_code == 501
    assert "store" in answer.json()["error"]["message"]
