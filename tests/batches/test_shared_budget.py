"""A batch whose requests share one budget of samples, each until it passes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from alpharay.judge.verdict import Verdict, VerdictKind
from tests.serve.fakes import completion, until

from .conftest import line, with_tests

MEMBERS = (0.0, 1.0)


def echoing(serving):
    """Engines that answer with the prompt, so that the judge knows the problem; counts samples by prompt."""
    drawn = Counter()

    def answer(member, body):
        prompt = body["messages"][0]["content"]
        drawn[prompt] += 1
        whole = completion(member, body)
        whole["choices"][0]["message"]["content"] = f"{prompt} {member} {body['seed']} {drawn[prompt]}"
        return whole

    serving.engines.answer = answer
    return drawn


def passing_at(**wanted):
    """A judge that lets a problem pass at its nth sample."""

    def verdict(text):
        prompt, _, _, number = text.split()
        return VerdictKind.ACCEPTED if int(number) >= wanted.get(prompt, 10**6) else VerdictKind.WRONG_ANSWER

    return verdict


def spend(budget):
    return {"extra_body": {"alpharay": {"budget": budget}}}


async def test_requests_share_the_budget_and_each_ends_at_its_pass(batching):
    serving = await batching(alphas=MEMBERS, bounds={"max_under_way": 1})
    drawn = echoing(serving)
    serving.judging.verdict = passing_at(easy=1, hard=9)
    batch = await serving.begin([with_tests(name, name) for name in ("easy", "hard", "never")], **spend(30))
    assert batch.alpharay == {"budget": 30, "drawn": 0, "solved": 0}
    batch = await serving.ended(batch)
    assert batch.alpharay == {"budget": 30, "drawn": 30, "solved": 2}
    assert drawn.total() == 30
    assert drawn == {"easy": 1, "hard": 9, "never": 20}
    answers = await serving.content(batch.output_file_id)
    notes = {name: answer["response"]["body"]["alpharay"] for name, answer in answers.items()}
    assert {name: note["drawn"] for name, note in notes.items()} == dict(drawn)
    assert set(notes["never"]["members"]) == {"frontier@0", "frontier@1"}
    choices = {name: answer["response"]["body"]["choices"] for name, answer in answers.items()}
    assert {name: choice[0]["alpharay"]["verdict"] for name, choice in choices.items()} == {
        "easy": "accepted",
        "hard": "accepted",
        "never": "wrong_answer",
    }
    assert batch.usage.output_tokens == 30 * 3


async def test_a_request_with_several_passes_is_completed_once_and_all_with_an_answer_are_in_the_end(
    batching,
):
    serving = await batching(alphas=MEMBERS)
    echoing(serving)
    gate, held = asyncio.Event(), []

    async def judge(_tests, text, *_):
        """From its ninth sample on `a` passes, but no sooner than three samples of it are there to pass."""
        prompt, _, _, number = text.split()
        if prompt != "a" or int(number) < 9:
            return Verdict(VerdictKind.WRONG_ANSWER, 0, 2)
        held.append(number)
        if len(held) > 2:
            gate.set()
        await gate.wait()
        return Verdict(VerdictKind.ACCEPTED, 2, 2)

    serving.judging.judge = judge
    batch = await serving.ended(
        await serving.begin([with_tests(name, name) for name in ("a", "never")], **spend(80))
    )
    assert len(held) > 2
    assert batch.alpharay["solved"] == 1
    assert batch.request_counts.model_dump() == {"completed": 2, "failed": 0, "total": 2}


async def test_no_sample_is_drawn_twice_with_one_seed(batching):
    serving = await batching(alphas=MEMBERS)
    echoing(serving)
    await serving.ended(
        await serving.begin([with_tests(name, name, seed=7) for name in ("a", "b")], **spend(40))
    )
    drawn = [
        (member, body["messages"][0]["content"], body["seed"]) for member, body, _ in serving.engines.calls
    ]
    assert len(set(drawn)) == len(drawn) == 40


async def test_after_a_kill_the_budget_goes_on_and_keeps_the_best_answers(batching):
    first = await batching(alphas=MEMBERS)
    first.batches._slots.limit = 1
    drawn = echoing(first)
    echo, stuck = first.engines.answer, asyncio.Event()

    def answer(member, body):
        if drawn.total() == 11:
            stuck.set()
            first.engines.seconds = dict.fromkeys(("frontier@0", "frontier@1"), 600)
        return echo(member, body)

    first.engines.answer = answer
    first.judging.verdict = passing_at(a=3)
    batch = await first.begin([with_tests(name, name) for name in ("a", "b")], **spend(30))
    await stuck.wait()
    await until(lambda: first.engines.held and len(first.engines.calls) > drawn.total())
    kept = {(body["seed"], member) for member, body, _ in first.engines.calls[:-1]}
    await first.kill()
    second = await batching(alphas=MEMBERS)
    again = echoing(second)
    batch = await second.ended(batch)
    assert drawn.total() + again.total() == 30
    assert again["a"] == 0
    assert not kept & {(body["seed"], member) for member, body, _ in second.engines.calls}
    answers = await second.content(batch.output_file_id)
    assert answers["a"]["response"]["body"]["choices"][0]["alpharay"]["verdict"] == "accepted"
    assert answers["b"]["response"]["body"]["alpharay"]["drawn"] == 30 - drawn["a"]


async def test_a_request_that_is_refused_costs_no_budget_and_is_told(batching):
    serving = await batching(alphas=MEMBERS)
    drawn = echoing(serving)
    bad = line("bad", alpharay={"tests": {"kind": "none"}})
    batch = await serving.ended(await serving.begin([bad, with_tests("good", "good")], **spend(10)))
    assert batch.status == "completed"
    assert drawn == {"good": 10}
    errors = await serving.content(batch.error_file_id)
    assert errors["bad"]["response"]["status_code"] == 400
    assert set(await serving.content(batch.output_file_id)) == {"good"}


async def test_what_the_budget_did_not_reach_is_told(batching):
    serving = await batching(alphas=MEMBERS)
    echoing(serving)
    batch = await serving.ended(
        await serving.begin([with_tests(name, name) for name in ("a", "b", "c")], **spend(2))
    )
    (error,) = (await serving.content(batch.error_file_id)).values()
    assert error["error"]["code"] == "budget_spent"
    assert len(await serving.content(batch.output_file_id)) == 2


async def test_no_request_gets_more_samples_than_its_key_allows_one(batching, key_file):
    path, secrets = key_file(alice={"max_budget": 4})
    serving = await batching(alphas=MEMBERS, server={"api_keys_file": path})
    drawn = echoing(serving)
    alice = serving.client_of(secrets["alice"])
    batch = await serving.begin([with_tests("a", "a"), with_tests("b", "b")], alice, **spend(50))
    await serving.ended(batch, alice)
    assert drawn == {"a": 4, "b": 4}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"alpharay": {}}, "needs `alpharay.tests`"),
        ({"alpharay": {"tests": {}, "budget": 3}}, "`alpharay.budget` is not a request's own"),
        ({"alpharay": {"tests": {}}, "model": "frontier@1"}, "ask the model 'frontier'"),
        ({"alpharay": {"tests": {}}, "n": 2}, "`n`"),
        ({"alpharay": {"tests": {}}, "temperature": 0}, "temperature 0"),
    ],
)
async def test_a_request_that_cannot_share_a_budget_is_named_by_its_line(batching, body, says):
    serving = await batching(alphas=MEMBERS)
    batch = await serving.begin([with_tests("a", "a"), line("b", **body)], **spend(9))
    assert batch.status == "failed"
    (error,) = batch.errors.data
    assert error.line == 2
    assert says in error.message
