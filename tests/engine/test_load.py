"""Many requests at once: none fails, none gets another's answer, nothing stays behind."""

from __future__ import annotations

import asyncio

import httpx
import pytest

pytestmark = pytest.mark.engine


def test_32_concurrent_requests_keep_their_own_problems_and_answers(server, ask, wait_until):
    """Every returned program is drawn again from its member with its own prompt and seed: it must be the same."""
    bodies = [
        ask(number, controls={"budget": 8, "stop_after_passes": 8, "return": "all"}) for number in range(32)
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
                replies = await asyncio.gather(*(post(client, one) for one in again))
                redrawn.append([reply["choices"][0]["message"]["content"] for reply in replies])
            return answers, redrawn

    answers, redrawn = asyncio.run(all_at_once())
    for answer, again in zip(answers, redrawn, strict=True):
        told = answer["alpharay"]
        assert told["drawn"] == 8
        assert sum(sum(member["verdicts"].values()) for member in told["members"].values()) == 8
        assert [choice["message"]["content"] for choice in answer["choices"][:2]] == again
    assert len({answer["id"] for answer in answers}) == 32
    wait_until(server.idle, "engines without requests")
    assert server.metric("alpharay_judge_queue_depth") == 0
