"""Lost engines, refusals, clients that leave, a server that is full or going down."""

import asyncio
import json

import pytest

from alpharay.judge.verdict import VerdictKind
from alpharay.serve.state.cluster_state import ClusterState, MemberReport, Phase
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.clients import SampleLost

from .clock import pass_time
from .fakes import NAMES, TESTS, Call, Serving, data_events, question, refusal

LOST = SampleLost("the replica died")


# Lost engines


async def test_an_engine_lost_in_the_middle_of_a_request_leaves_its_samples_to_the_others(serving):
    serving.engines.dead = {NAMES[2]}
    own = (await serving.answer(alpharay={"budget": 20}))["alpharay"]
    assert own["drawn"] == 20
    assert NAMES[2] not in own["members"]
    assert serving.counted("alpharay_samples_total", outcome="lost", member=NAMES[2]) == 4


async def test_a_request_for_one_sample_survives_the_loss_of_its_engine(serve):
    serving = await serve(alphas=(1.0,))
    serving.engines.faults = {"frontier@1": [LOST, LOST]}
    answer = await serving.answer()
    assert answer["choices"][0]["alpharay"]["member"] == "frontier@1"
    assert len(serving.engines.calls) == 3


async def test_a_redrawn_sample_asks_for_the_seed_that_was_lost(serve):
    serving = await serve(alphas=(1.0,))
    serving.engines.faults = {"frontier@1": [LOST]}
    await serving.answer(seed=3)
    lost, again = serving.engines.calls
    assert lost[1]["seed"] == again[1]["seed"]


async def test_a_member_that_another_ingress_replica_knows_to_be_back_is_asked(serving):
    """What is known here is up to a second old."""
    serving.engines.is_down = serving.server.cluster.is_down
    (name,) = (name for name in NAMES if name.endswith("@0.5"))
    down = {name: MemberReport(phase=Phase.DOWN, instance="first")}
    await serving.cluster_state.report_members("replica", down)
    await serving.server.exchange()
    assert (await serving.chat(model=name)).status_code == 503
    back = {name: MemberReport(phase=Phase.UP, instance="second")}
    await serving.cluster_state.report_members("replica", back)
    assert (await serving.chat(model=name)).status_code == 200


async def test_those_who_ask_for_members_that_are_down_share_a_look_at_the_cluster_state(serving):
    looks = 0
    exchange = serving.cluster_state.exchange

    async def counted(*arguments):
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.01)
        return await exchange(*arguments)

    serving.cluster_state.exchange = counted
    # The first call looks; the others need a look that begins after their own call, so they share a second one.
    await asyncio.gather(*(serving.server.look_again() for _ in range(20)))
    assert looks == 2


async def test_with_all_engines_lost_the_answer_is_503_and_says_when_to_try_again(serving):
    serving.engines.dead = set(NAMES)
    response = await serving.chat(alpharay={"budget": 16})
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("overloaded_error", "no_capacity")
    assert serving.counted("alpharay_requests_total", outcome="unavailable") == 1


# What the engine refuses


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["frontier", "frontier@0.5"])
async def test_the_engines_own_refusal_keeps_its_status_message_and_field(serving, model, stream):
    no = refusal(400, "the prompt is longer than the model", "messages")
    serving.engines.faults = {name: [no] for name in NAMES}
    response = await serving.chat(model=model, stream=stream)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["message"], error["param"]) == ("the prompt is longer than the model", "messages")
    assert serving.counted("alpharay_requests_total", outcome="invalid") == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["frontier", "frontier@0.5"])
async def test_a_refusal_that_is_not_json_keeps_its_status_too(serving, model, stream):
    serving.engines.faults = {name: [Reply(413, "text/plain", b"too much")] for name in NAMES}
    response = await serving.chat(model=model, stream=stream)
    assert response.status_code == 413
    assert "too much" in response.json()["error"]["message"]


async def test_one_refused_draw_ends_the_request_and_frees_the_others(serving):
    serving.engines.faults = {NAMES[0]: [refusal(400, "no")]}
    serving.engines.seconds = dict.fromkeys(NAMES[1:], 1000.0)
    response = await serving.chat(alpharay={"budget": 5})
    assert response.status_code == 400
    assert serving.engines.cancelled == 4


async def test_a_fault_of_ours_is_a_500_in_the_dialects_own_error_object(serving):
    serving.engines.faults = {name: [ZeroDivisionError("oh")] for name in NAMES}
    response = await serving.chat()
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert "oh" not in response.text
    assert serving.counted("alpharay_requests_total", outcome="fault") == 1


# Clients that leave


def budget_request(**body):
    return question(**body, alpharay={"tests": TESTS, "budget": 10, "stop_after_passes": 10})


async def test_a_client_that_leaves_while_engines_sample_frees_every_slot(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    call = Call(serving.app, budget_request())
    await pass_time(1)
    assert len(serving.engines.held) == 10
    call.leave()
    await call.end()
    assert serving.nothing_is_held()
    assert serving.engines.cancelled == 10
    assert serving.counted("alpharay_requests_total", outcome="client_gone") == 1


async def test_a_client_that_leaves_while_its_candidates_are_judged_ends_every_run(serving):
    serving.judging.seconds = 1000.0
    call = Call(serving.app, budget_request())
    await pass_time(1)
    assert len(serving.judging.held) == 10
    call.leave()
    await call.end()
    assert serving.nothing_is_held()
    assert serving.judging.cancelled == 10


@pytest.mark.parametrize("after_s", [1, 5, 25])
async def test_a_client_that_leaves_a_streamed_budget_frees_every_slot(serving, after_s):
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    call = Call(serving.app, budget_request(stream=True))
    await pass_time(after_s)
    assert serving.engines.held
    call.leave()
    await call.end()
    assert serving.nothing_is_held()
    assert serving.counted("alpharay_requests_total", outcome="client_gone") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_a_pinned_request_frees_its_slot(serving, stream):
    serving.engines.seconds = {NAMES[1]: 1000.0}
    call = Call(serving.app, question(model=NAMES[1], stream=stream))
    await pass_time(1)
    assert serving.engines.held == [NAMES[1]]
    call.leave()
    await call.end()
    assert serving.nothing_is_held()
    assert serving.counted("alpharay_samples_total", outcome="aborted") == 1


async def test_a_client_that_leaves_in_the_middle_of_a_pinned_stream_frees_its_slot(serving):
    call = Call(serving.app, question(model=NAMES[1], stream=True))
    await call.until(lambda call: "delta" in call.text)
    assert serving.engines.held == [NAMES[1]]
    call.leave()
    await call.end()
    assert serving.nothing_is_held()
    assert serving.counted("alpharay_samples_total", outcome="aborted") == 1
    assert "[DONE]" not in call.text


async def test_a_client_that_leaves_while_it_sends_its_request_is_not_a_fault_of_ours(serving):
    call = Call(serving.app, [b'{"model": ', b"never sent"])
    call._inbox.get_nowait()
    call._inbox.get_nowait()
    call.leave()
    await call.end()
    assert serving.counted("alpharay_requests_total", outcome="client_gone") == 1
    assert serving.counted("alpharay_requests_total", outcome="fault") == 0


async def test_a_cancelled_handler_frees_every_slot(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    call = Call(serving.app, budget_request())
    await pass_time(1)
    call.task.cancel()
    await call.end()
    assert serving.nothing_is_held()


@pytest.mark.parametrize(
    "body", [budget_request(), budget_request(stream=True), question(model=NAMES[1], stream=True)]
)
@pytest.mark.parametrize("steps", range(6))
async def test_a_client_that_leaves_and_is_cancelled_too_frees_every_slot(serving, body, steps):
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    call = Call(serving.app, body)
    await pass_time(5)
    assert serving.engines.held
    call.leave()
    for _ in range(steps):  # the cancellation meets every stage of letting go
        await asyncio.sleep(0)
    call.task.cancel()
    await call.end()
    await pass_time(1)
    assert serving.nothing_is_held()
    assert serving.counted("alpharay_requests_total") == 1


async def test_a_cancelled_stream_frees_every_slot(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    call = Call(serving.app, budget_request(stream=True))
    await call.until(lambda call: call.status == 200)
    call.task.cancel()
    await call.end()
    assert serving.nothing_is_held()


# Full, draining, not ready


async def test_a_full_server_refuses_with_503_and_says_when_to_try_again(serve):
    serving = await serve(server={"max_queued": 2})
    serving.engines.seconds = dict.fromkeys(NAMES, 10.0)
    under_way = [asyncio.ensure_future(serving.chat()) for _ in range(2)]
    await pass_time(1)
    response = await serving.chat()
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert serving.counted("alpharay_rejections_total", reason="queue_full") == 1
    assert [answer.status_code for answer in await asyncio.gather(*under_way)] == [200, 200]
    assert (await serving.chat()).status_code == 200


async def test_a_draining_server_lets_nothing_more_in_and_finishes_what_is_under_way(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 10.0)
    under_way = asyncio.ensure_future(serving.chat())
    await pass_time(1)
    await serving.cluster_state.drain(30)
    await serving.server.exchange()
    assert (await serving.chat()).status_code == 503
    assert (await under_way).status_code == 200
    assert serving.counted("alpharay_rejections_total", reason="draining") == 1


async def test_a_drain_shortens_the_deadline_of_what_is_under_way(serving):
    serving.engines.seconds = dict.fromkeys(NAMES[1:], 1000.0)
    under_way = asyncio.ensure_future(serving.answer(alpharay={"budget": 10}))
    await pass_time(1)
    await serving.cluster_state.drain(5)
    await serving.server.exchange()
    own = (await under_way)["alpharay"]
    assert own["stopped"] == "deadline"
    assert own["seconds"]["total"] < 10


async def test_a_drained_server_says_so_to_the_cluster_state(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 10.0)
    under_way = asyncio.ensure_future(serving.chat())
    await pass_time(1)
    await serving.cluster_state.drain(30)
    await serving.server.exchange()
    await serving.server.exchange()
    assert not (await serving.cluster_state.overview()).drained
    await under_way
    await serving.server.exchange()
    assert (await serving.cluster_state.overview()).drained


async def readiness(serving):
    """(status, the members named as degraded or as the reason)."""
    await serving.server.exchange()
    response = await serving.http.get("/ready")
    if response.status_code == 200:
        return 200, response.json().get("degraded", [])
    assert int(response.headers["retry-after"]) > 0
    words = response.json()["error"]["message"].replace(",", " ").split()
    return 503, [name for name in NAMES if name in words]


async def report(cluster_state, up=(), down=(), replica="replica"):
    phases = {**dict.fromkeys(up, Phase.UP), **dict.fromkeys(down, Phase.DOWN)}
    reports = {name: MemberReport(phase=phase, instance="first") for name, phase in phases.items()}
    await cluster_state.report_members(replica, reports)


async def test_readiness_waits_for_every_member_once_and_then_for_any():
    serving = Serving()
    assert await readiness(serving) == (503, [*NAMES])
    await report(serving.cluster_state, up=NAMES[:4])
    assert await readiness(serving) == (503, [NAMES[4]])
    await report(serving.cluster_state, up=NAMES)
    assert await readiness(serving) == (200, [])
    await report(serving.cluster_state, up=NAMES[4:], down=NAMES[:4])
    assert await readiness(serving) == (200, [*NAMES[:4]])
    assert "alpharay_degraded_members 4.0" in (await serving.http.get("/metrics")).text
    await report(serving.cluster_state, down=NAMES)
    assert await readiness(serving) == (503, [])
    await report(serving.cluster_state, up=NAMES)
    assert await readiness(serving) == (200, [])
    await pass_time(11)  # the cluster state has heard nothing for too long
    assert await readiness(serving) == (503, [])


async def test_an_ingress_or_a_hub_that_is_new_to_a_degraded_server_is_ready():
    serving = Serving()
    await report(serving.cluster_state, up=NAMES)
    await readiness(serving)
    await report(serving.cluster_state, up=NAMES[1:], down=NAMES[:1])
    successor = Serving(cluster_state=serving.cluster_state)
    assert await readiness(successor) == (200, [NAMES[0]])
    serving.handle.actor = ClusterState(list(NAMES))
    await report(serving.handle.actor, up=NAMES[1:])
    assert await readiness(serving) == (200, [NAMES[0]])


async def test_readiness_ends_with_the_drain(serving):
    serving.server.drain(1)
    assert await readiness(serving) == (503, [])


async def test_health_is_told_whatever_the_members_do(serving):
    serving.server.drain(1)
    assert (await serving.http.get("/health")).status_code == 200


# Requests that cannot be read


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"messages": 1e' + b"9" * 9,
        b"[" * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b'{"alpharay": {"\\ud800": 1}}',
        b'{"alpharay": {"tests": {"kind": "stdio", "cases": [{"\\ud800": 1}]}}}',
        b'{"model": "\\ud800"}',
        b'{"alpharay": {"deadline_s": NaN}}',
        b'{"alpharay": {"deadline_s": Infinity}}',
        b'{"alpharay": {"budget": 1e400}}',
        b'{"stream_options": [1]}',
    ],
)
async def test_a_request_that_cannot_be_read_is_a_4xx_with_an_error_object(serving, body):
    headers = {"Content-Type": "application/json"}
    response = await serving.http.post("/v1/chat/completions", content=body, headers=headers)
    assert response.status_code in {400, 404}
    assert response.json()["error"]["message"]
    assert serving.counted("alpharay_rejections_total", reason="invalid") == 1
    assert not serving.engines.calls


async def test_a_request_that_is_too_large_is_refused_before_it_is_read_to_its_end(serve):
    serving = await serve(server={"max_request_mb": 0.001})
    call = Call(serving.app, [b"x" * 600, b"x" * 600, b"x" * 600])
    await call.end()
    assert call.status == 413
    assert "max_request_mb" in json.loads(call.text)["error"]["message"]
    assert call._inbox.qsize() == 1


@pytest.mark.parametrize(
    "body",
    [
        {"messages": 5},
        {"messages": []},
        {"n": "two"},
        {"n": 0},
        {"temperature": "warm"},
        {"stream": "yes"},
        {"seed": 1.5},
        {"tools": 3},
        {"alpharay": 3},
    ],
)
async def test_no_request_is_ever_answered_422(serving, body):
    for model in ("frontier", NAMES[0]):
        response = await serving.chat(model=model, **body)
        assert response.status_code != 422


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/v1/chat/completions", 405)])
async def test_a_wrong_route_has_an_error_object_too(serving, path, status):
    response = await serving.http.get(path)
    assert response.status_code == status
    assert response.json()["error"]["type"] in {"not_found_error", "invalid_request_error"}


async def test_the_judge_is_not_asked_about_a_request_without_tests(serving):
    serving.judging.verdict = lambda _: VerdictKind.ACCEPTED
    own = (await serving.answer(alpharay={"budget": 5}))["alpharay"]
    assert own["judge"] == "not_asked"
    assert not serving.judging.calls


async def test_a_stream_that_loses_its_engine_tells_so_in_its_last_event(serving):
    serving.engines.streamed = [
        b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n',
        LOST,
    ]
    response = await serving.chat(model=NAMES[0], stream=True)
    assert data_events(response.text)[-1]["error"]["code"] == "no_capacity"
    assert serving.counted("alpharay_samples_total", outcome="lost", member=NAMES[0]) == 1
