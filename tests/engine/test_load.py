"""Many requests at once: none fails, none gets another's answer, nothing stays behind."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil
import pytest

pytestmark = pytest.mark.engine


def test_32_concurrent_requests_keep_their_own_problems_and_answers(server, sampling, wait_until):
    """Every returned program is drawn again from its member with its own prompt and seed: it must be the same."""
    bodies = [
        sampling(number, controls={"budget": 8, "stop_after_passes": 8, "return": "all"})
        for number in range(32)
    ]

    async def post(client: httpx.AsyncClient, body: dict) -> dict:
        reply = await client.post(f"{server.url}/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def all_at_once() -> tuple[list[dict], list[list[str]]]:
        async with httpx.AsyncClient(timeout=300) as client:
            answers = await asyncio.gather(*(post(client, body) for body in bodies))
            redrawn = []
            for body, answer in zip(bodies, answers, strict=True):
                again = [
                    {
                        **body,
                        "alpharay": {},
                        "model": choice["alpharay"]["member"],
                        "seed": choice["alpharay"]["seed"],
                    }
                    for choice in answer["choices"][:2]
                ]
                replies = await asyncio.gather(*(post(client, redraw) for redraw in again))
                redrawn.append([reply["choices"][0]["message"]["content"] for reply in replies])
            return answers, redrawn

    answers, redrawn = asyncio.run(all_at_once())
    for answer, again in zip(answers, redrawn, strict=True):
        metadata = answer["alpharay"]
        assert metadata["drawn"] == 8
        assert sum(sum(member["verdicts"].values()) for member in metadata["members"].values()) == 8
        assert [choice["message"]["content"] for choice in answer["choices"][:2]] == again
    assert len({answer["id"] for answer in answers}) == 32
    wait_until(server.idle, "engines without requests")
    assert server.metric("alpharay_judge_queue_depth") == 0


def test_more_prompts_than_one_step_holds_do_not_kill_the_engine(server, sampling):
    """vLLM's CPU engine died when it cut the prompt of a seeded request in two."""
    restarts = server.metric("alpharay_replica_restarts_total")
    answer = server.post(sampling(tests=False, model="frontier@1", n=100, max_tokens=1))
    assert (answer.status_code, len(answer.json()["choices"])) == (200, 100)
    reply = server.post(
        sampling(tests=False, max_tokens=1, controls={"budget": 200, "members": [0.5]})
    ).json()
    assert reply["alpharay"]["drawn"] == 200
    assert server.metric("alpharay_replica_restarts_total") == restarts


def test_a_small_request_does_not_wait_for_what_a_large_one_has_queued(server, sampling, wait_until):
    """An engine takes 64 at a time: in the order of arrival, the small request would come after all others."""
    large = sampling(tests=False, max_tokens=64, controls={"budget": 500, "members": [1]}) | {
        "ignore_eos": True
    }
    before = server.metric("alpharay_samples_total", outcome="finished")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, large)
        # All 500, or beside the small requests of other tests the first of them.
        wait_until(lambda: server.metric("alpharay_engine_requests") >= 32, "samples in the engine")
        small = server.post(sampling(tests=False, model="frontier@1", max_tokens=1))
        drawn = server.metric("alpharay_samples_total", outcome="finished") - before
        assert answer.result().json()["alpharay"]["drawn"] == 500
    assert small.status_code == 200
    assert drawn < 300


@pytest.mark.parametrize(
    "change",
    [{"stop": "\ud800"}, {"top_k": 10**30}, {"structured_outputs": 1}, {"seed": 10**30}, {"n": 10**50}],
)
def test_what_an_engine_would_stumble_over_is_refused_before_it_gets_there(
    server, sampling, wait_until, change
):
    for model in ("frontier", "frontier@1"):
        assert server.post(sampling(tests=False, model=model) | change).status_code == 400
    wait_until(server.idle, "engines without requests")


def of_all(processes: list[psutil.Process]) -> set[int]:
    """The niceness of the processes that still run."""
    values = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            values.add(process.nice())
    return values


def test_who_brings_the_requests_goes_first_where_cores_are_short_and_judged_programs_last(server):
    in_front = server.processes("ServeReplica:alpharay:ingress") + server.processes(
        "ServeReplica:alpharay:members"
    )
    (judge,) = server.processes("ServeReplica:alpharay:judge")
    sandboxes = judge.children(recursive=True)
    ranks = [in_front, server.processes("EngineCore"), sandboxes]
    assert len(sandboxes) > 1
    niceness = [of_all(rank) for rank in ranks]
    assert [len(values) for values in niceness] == [1, 1, 1]
    assert max(niceness[0]) < max(niceness[1]) < max(niceness[2])
