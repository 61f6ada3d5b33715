"""Engines that fail in any way while clients stay or leave: every request ends, and holds nothing afterwards."""

import asyncio
import json
from random import Random

import pytest

from alpharay.serve.dialects import openai
from alpharay.serve.transport.clients import EngineFault, SampleLost

from .fakes import NAMES, TESTS, Call, question, refusal

ERROR = openai.event({"error": {"message": "it broke", "code": 500}})
REFUSAL = openai.event({"error": {"message": "it is refused", "code": 400}})


def weather(dice, engines):
    """What the next calls of some members come to, and how long each takes."""
    for name in dice.sample(NAMES, dice.randrange(len(NAMES) + 1)):
        kinds = [SampleLost("it died"), EngineFault("it failed"), refusal(400, "not so"), None]
        engines.faults[name] = [fault for _ in range(2) if (fault := dice.choice(kinds)) is not None]
        engines.seconds[name] = dice.choice([0.001, 0.01, 1.0, 5.0])
    engines.dead = set(dice.sample(NAMES, dice.choice([0, 0, 1, 2, 5])))
    engines.streamed = dice.choice([None, None, None, [ERROR], [REFUSAL], [SampleLost("in the middle")]])


def request(dice):
    body = question(
        model=dice.choice(["frontier", "frontier", "frontier@1"]),
        n=dice.choice([1, 1, 2, 4]),
        stream=dice.random() < 0.7,
    )
    if dice.random() < 0.4:
        body["alpharay"] = dice.choice(
            [{"budget": 6}, {"tests": TESTS, "budget": 6}, {"deadline_s": 3, "budget": 9}]
        )
    if dice.random() < 0.3:
        body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    if dice.random() < 0.3:
        body["seed"] = dice.randrange(100)
    return body


@pytest.mark.parametrize("seed", range(120))
async def test_every_request_ends_and_holds_nothing(serving, seed):
    dice = Random(seed)
    weather(dice, serving.engines)
    body = request(dice)
    call = Call(serving.app, body)
    if leaves := dice.random() < 0.4:
        await asyncio.sleep(dice.choice([0, 0.005, 0.05, 2.5]))
        call.leave()
    await call.end()
    for _ in range(50):  # engines and judge let go in tasks of their own
        await asyncio.sleep(0)
    assert serving.nothing_is_held(), body
    assert call.task.done()
    if not leaves:
        assert call.status in {200, 400, 500, 503}, body
        if call.status == 200 and body["stream"]:
            assert call.text.endswith("data: [DONE]\n\n"), call.text
        else:
            assert set(json.loads(call.text)) & {"choices", "error"}
    ended = serving.counted("alpharay_requests_total")
    assert ended == 1
