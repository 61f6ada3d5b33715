"""The judge's door against clients that take all they can get: what they hold is bounded, and goes when they go."""

import asyncio
import json

import pytest

from alpharay.serve.state.keys import make

from .clock import pass_time
from .fakes import Call
from .test_door import TESTS, lines, until

JUDGE = "/v1/judge"


class Deaf(Call):
    """A client that sends its request and never reads."""

    async def _send(self, message):
        await super()._send(message)
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()


@pytest.fixture
async def two_keys(serve, tmp_path):
    """A replica whose judge takes ten candidates, and the headers of alice and of bob."""
    keys = [make(name) for name in ("alice", "bob")]
    file = tmp_path / "keys.yaml"
    file.write_text(json.dumps([entry.model_dump(exclude_none=True) for _, entry in keys]))
    serving = await serve(server={"api_keys_file": file}, judge={"max_queued": 10})
    serving.judging.seconds = 300
    return serving, *({"authorization": f"Bearer {key}"} for key, _ in keys)


def batch(serving, size, headers=None, kind=Call, **body):
    candidates = [{"program": "x"}] * size
    return kind(serving.app, {"tests": TESTS, "candidates": candidates, **body}, path=JUDGE, headers=headers)


async def never_ready(_language, _tests):
    await asyncio.Event().wait()


async def test_a_client_that_leaves_while_its_language_is_tried_holds_nothing_more(serving):
    serving.judging.ready_for = never_ready
    call = Call(serving.app, {"tests": TESTS, "program": "x"}, path=JUDGE)
    await until(lambda: serving.server.door.held)
    call.leave()
    await call.end()
    assert serving.server.door.held == 0


async def test_the_time_in_which_a_language_is_tried_is_part_of_wait(serving):
    serving.judging.ready_for = never_ready
    single = Call(serving.app, {"tests": TESTS, "program": "x", "wait": 5}, path=JUDGE)
    many = batch(serving, 2, wait=5)
    await single.end()
    await many.end()
    assert json.loads(single.text)["verdict"] is None
    assert [line["verdict"] for line in lines(many)] == [None, None]


async def test_what_a_client_does_not_read_holds_no_place_of_the_judge_s(serving):
    call = batch(serving, 300, kind=Deaf)
    await pass_time(10)
    assert len(call.sent) == 2
    assert len(serving.judging.calls) == 300
    assert serving.server.door.held == 0
    call.leave()
    await call.end()


async def test_a_client_that_reads_nothing_for_minutes_is_let_go_of(serving):
    call = batch(serving, 3, kind=Deaf)
    await pass_time(600)
    assert serving.nothing_is_held()
    await call.end()


async def test_a_stream_that_is_silent_for_minutes_is_no_client_that_does_not_read(serving):
    serving.judging.seconds = 300
    call = batch(serving, 2)
    await call.end()
    assert len(lines(call)) == 2


async def test_a_key_cannot_take_the_room_of_all_others(two_keys):
    serving, alice, bob = two_keys
    first = batch(serving, 6, alice)
    await until(lambda: serving.server.door.held == 6)
    refused = batch(serving, 2, alice)
    await refused.end()
    assert refused.status == 429
    assert b"retry-after" in dict(refused.sent[0]["headers"])
    assert "'alice'" in refused.text
    others = batch(serving, 4, bob)
    for call in (first, others):
        await call.end()
        assert call.status == 200


async def test_a_key_whose_candidates_are_judged_may_send_more(two_keys):
    serving, alice, _ = two_keys
    for _ in range(3):
        call = batch(serving, 6, alice)
        await call.end()
        assert call.status == 200


async def test_a_full_queue_is_a_503_for_a_key_that_holds_nothing(two_keys):
    serving, alice, bob = two_keys
    first = batch(serving, 10, alice)
    await until(lambda: serving.server.door.held == 10)
    refused = batch(serving, 1, bob)
    await refused.end()
    assert refused.status == 503
    first.leave()
    await first.end()
    again = batch(serving, 10, bob)
    await again.end()
    assert again.status == 200


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ({"kind": "call", "entry_point": "f" * 20_000, "cases": [{"args": [], "output": 1}]}, "at most 200"),
        ({"kind": "code", "entry_point": "f" * 20_000, "code": "pass"}, "at most 200"),
        ({"kind": "call", "entry_point": "f", "cases": [{"args": [nested(300)], "output": 1}]}, "nested deeper"),
        ({"kind": "call", "entry_point": "f", "cases": [{"args": [], "output": nested(300)}]}, "nested deeper"),
        ({**TESTS, "checker": {"language": "python", "source": "x", "flags": [""] * 1000}}, "flags must be"),
    ],
)  # fmt: skip
async def test_what_no_message_to_a_sandbox_can_hold_is_refused(serving, tests, message):
    call = Call(serving.app, {"tests": tests, "program": "x"}, path=JUDGE)
    await call.end()
    assert call.status == 400
    assert message in call.text


async def test_an_unknown_field_of_any_length_is_answered_in_short(serving):
    call = Call(serving.app, {"tests": {**TESTS, "x" * 200_000: 1}, "program": "x"}, path=JUDGE)
    await call.end()
    assert call.status == 400
    assert len(call.text) < 2000
