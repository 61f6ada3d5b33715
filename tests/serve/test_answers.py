"""The whole application over fakes: what a client gets back, and what it cost."""

import asyncio
import json
from collections import Counter

from alpharay.judge.verdict import VerdictKind

from .clock import pass_time
from .fakes import COMPLETION_TOKENS, NAMES, PROMPT_TOKENS, TESTS, Call, completion, question, rebuilt

ACCEPTED = VerdictKind.ACCEPTED


def accept(*members):
    """A judge that accepts what those members wrote."""
    return lambda text: ACCEPTED if text.split()[0] in members else VerdictKind.WRONG_ANSWER


def echo(member, body):
    whole = completion(member, body)
    whole["choices"][0]["message"]["content"] = body["messages"][0]["content"]
    return whole


async def test_a_plain_request_is_answered_by_one_sample(serving):
    answer = await serving.answer()
    (choice,) = answer["choices"]
    assert choice["message"]["content"].startswith(choice["alpharay"]["member"])
    assert len(serving.engines.calls) == 1
    assert answer["alpharay"]["judge"] == "not_asked"


async def test_a_request_with_tests_spends_the_configured_budget(serving):
    answer = await serving.answer(alpharay={"tests": TESTS, "stop_after_passes": 99})
    assert answer["alpharay"]["budget"] == answer["alpharay"]["drawn"] == 16
    assert answer["alpharay"]["stopped"] == "budget"


async def test_a_passing_candidate_is_answered_before_all_others(serving):
    serving.judging.verdict = accept(NAMES[4])
    answer = await serving.answer(alpharay={"tests": TESTS})
    note = answer["choices"][0]["alpharay"]
    assert (note["member"], note["verdict"], note["passed"], note["total"]) == (NAMES[4], "accepted", 2, 2)
    assert note["score"] == 1.0


async def test_a_choice_tells_the_alpha_checkpoint_and_seed_it_came_from(serving):
    (choice,) = (await serving.answer())["choices"]
    note = choice["alpharay"]
    member = serving.server.by_name[note["member"]]
    assert (note["alpha"], note["checkpoint"]) == (member.alpha, member.sha256)
    assert choice["message"]["content"] == f"{note['member']} {note['seed']} 0"
    assert note["turn"] == 1


async def test_the_first_pass_stops_the_drawing(serving):
    serving.judging.verdict = accept(*NAMES)
    answer = await serving.answer(alpharay={"tests": TESTS, "budget": 50})
    assert answer["alpharay"]["stopped"] == "passes"
    assert answer["alpharay"]["drawn"] == len(NAMES)


async def test_n_choices_with_tests_wait_for_n_passes(serving):
    serving.judging.verdict = accept(NAMES[0], NAMES[3])
    answer = await serving.answer(n=3, alpharay={"tests": TESTS, "budget": 50})
    assert [choice["alpharay"]["verdict"] for choice in answer["choices"]] == ["accepted"] * 3
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]


async def test_a_request_that_nothing_passes_still_answers_with_its_verdicts(serving):
    answer = await serving.answer(alpharay={"tests": TESTS, "budget": 10})
    assert answer["choices"][0]["alpharay"]["verdict"] == "wrong_answer"
    assert answer["alpharay"]["stopped"] == "budget"


async def test_drawn_samples_and_verdicts_add_up_member_by_member(serving):
    serving.judging.verdict = accept()
    own = (await serving.answer(alpharay={"tests": TESTS, "budget": 13}))["alpharay"]
    assert sum(member["drawn"] for member in own["members"].values()) == own["drawn"] == 13
    assert all(sum(member["verdicts"].values()) == member["drawn"] for member in own["members"].values())
    assert Counter(member for member, _, _ in serving.engines.calls) == {
        name: member["drawn"] for name, member in own["members"].items()
    }


async def test_usage_counts_what_came_back_and_the_whole_spend_stands_beside_it(serving):
    answer = await serving.answer(n=2, alpharay={"budget": 10})
    assert answer["usage"] == {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": 2 * COMPLETION_TOKENS,
        "total_tokens": PROMPT_TOKENS + 2 * COMPLETION_TOKENS,
    }
    assert answer["alpharay"]["usage"] == {
        "prompt_tokens": 10 * PROMPT_TOKENS,
        "completion_tokens": 10 * COMPLETION_TOKENS,
    }


async def test_return_all_gives_every_candidate_back_best_first(serving):
    serving.judging.verdict = accept(NAMES[2])
    controls = {"tests": TESTS, "budget": 5, "return": "all", "stop_after_passes": 5}
    answer = await serving.answer(alpharay=controls)
    verdicts = [choice["alpharay"]["verdict"] for choice in answer["choices"]]
    assert verdicts == ["accepted"] + ["wrong_answer"] * 4


async def test_return_passing_gives_only_passing_ones_back(serving):
    serving.judging.verdict = accept(NAMES[1], NAMES[2])
    controls = {"tests": TESTS, "budget": 5, "return": "passing", "stop_after_passes": 5}
    answer = await serving.answer(alpharay=controls)
    assert {choice["alpharay"]["member"] for choice in answer["choices"]} == {NAMES[1], NAMES[2]}


async def test_return_passing_gives_the_best_failure_back_when_nothing_passes(serving):
    answer = await serving.answer(alpharay={"tests": TESTS, "budget": 5, "return": "passing"})
    assert [choice["alpharay"]["verdict"] for choice in answer["choices"]] == ["wrong_answer"]


async def test_a_judge_out_of_reach_neither_passes_nor_fails_anything(serving):
    serving.judging.away = True
    answer = await serving.answer(alpharay={"tests": TESTS, "budget": 5})
    note = answer["choices"][0]["alpharay"]
    assert answer["alpharay"]["judge"] == "unavailable"
    assert (note["verdict"], note["passed"], note["total"], note["score"]) == (None, None, None, None)
    assert all(not member["verdicts"] for member in answer["alpharay"]["members"].values())


async def test_the_deadline_answers_with_the_best_so_far(serving):
    slow = set(NAMES[1:])
    serving.engines.seconds = dict.fromkeys(slow, 1000.0)
    answer = await serving.answer(alpharay={"tests": TESTS, "budget": 50, "deadline_s": 3})
    assert answer["choices"][0]["alpharay"]["member"] == NAMES[0]
    assert answer["alpharay"]["stopped"] == "deadline"
    assert serving.nothing_is_held()


async def test_a_candidate_that_the_judge_had_not_finished_at_the_deadline_comes_back_unjudged(serving):
    serving.judging.seconds = 1000.0
    answer = await serving.answer(alpharay={"tests": TESTS, "budget": 5, "deadline_s": 3})
    assert answer["choices"][0]["alpharay"]["verdict"] is None
    assert answer["alpharay"]["stopped"] == "deadline"


async def test_at_the_deadline_every_candidate_counts_once_judged_or_not(serving):
    serving.engines.seconds = {NAMES[4]: 2.99}
    serving.judging.seconds = 0.5
    answer = await serving.answer(alpharay={"tests": TESTS, "budget": 5, "deadline_s": 3, "return": "all"})
    verdicts = {choice["alpharay"]["member"]: choice["alpharay"]["verdict"] for choice in answer["choices"]}
    assert verdicts == dict.fromkeys(NAMES[:4], "wrong_answer") | {NAMES[4]: None}
    assert len(answer["choices"]) == 5


async def test_the_deadline_counts_from_the_arrival_of_the_request(serving):
    """A body that takes its time uses up the time of its answer."""
    serving.engines.seconds = dict.fromkeys(NAMES, 2.0)
    whole = json.dumps(question(alpharay={"tests": TESTS, "budget": 50, "deadline_s": 10})).encode()
    call = Call(serving.app, [])
    call._inbox.put_nowait({"type": "http.request", "body": whole[:20], "more_body": True})
    await pass_time(7)
    call._inbox.put_nowait({"type": "http.request", "body": whole[20:], "more_body": False})
    await call.end()
    own = json.loads(call.text)["alpharay"]
    assert (own["stopped"], own["drawn"]) == ("deadline", 10)
    assert own["seconds"]["total"] == 10.0


async def test_a_deadline_before_the_first_sample_is_a_503_that_says_when_to_try_again(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    response = await serving.chat(alpharay={"budget": 5, "deadline_s": 1})
    assert response.status_code == 503
    assert "deadline" in response.json()["error"]["message"]
    assert int(response.headers["retry-after"]) > 0


async def test_temperature_zero_draws_one_sample_a_member_and_says_so(serving):
    own = (await serving.answer(temperature=0, alpharay={"tests": TESTS, "budget": 16}))["alpharay"]
    assert (own["budget"], own["effective_budget"], own["drawn"]) == (16, 5, 5)
    assert {member["drawn"] for member in own["members"].values()} == {1}


async def test_a_subset_of_the_members_shares_the_budget(serving):
    own = (await serving.answer(alpharay={"budget": 6, "members": [0.5, "frontier@1.5"]}))["alpharay"]
    assert {name: member["drawn"] for name, member in own["members"].items()} == {NAMES[2]: 3, NAMES[4]: 3}


async def test_the_same_seed_gives_the_same_candidates_whoever_is_faster(serving):
    body = {"seed": 5, "alpharay": {"tests": TESTS, "budget": 20, "return": "all"}}
    serving.judging.verdict = lambda text: (
        ACCEPTED if int(text.split()[1]) % 7 == 0 else VerdictKind.TIME_LIMIT
    )
    first = await serving.answer(**body)
    serving.engines.seconds = {name: 1.0 - number / 10 for number, name in enumerate(NAMES)}
    second = await serving.answer(**body)
    assert [c["alpharay"] for c in first["choices"]] == [c["alpharay"] for c in second["choices"]]


async def test_every_draw_reaches_the_engine_as_one_sample_with_its_own_seed(serving):
    await serving.answer(n=2, stream=False, best_of=20, top_p=0.5, alpharay={"budget": 20})
    bodies = [body for _, body, _ in serving.engines.calls]
    assert {(body["n"], body["stream"], body["top_p"]) for body in bodies} == {(1, False, 0.5)}
    assert len({body["seed"] for body in bodies}) == 20
    assert not any("alpharay" in body or "best_of" in body for body in bodies)
    assert all(body["model"] == member for member, body, _ in serving.engines.calls)


async def test_requests_at_the_same_time_keep_their_own_candidates(serve):
    serving = await serve()
    serving.engines.answer = echo
    words = [f"word{number}" for number in range(32)]
    answers = await asyncio.gather(
        *(
            serving.answer(
                messages=[{"role": "user", "content": word}],
                alpharay={"budget": 5, "return": "all", "tests": TESTS},
            )
            for word in words
        )
    )
    for word, answer in zip(words, answers, strict=True):
        assert {choice["message"]["content"] for choice in answer["choices"]} == {word}
    assert len({answer["id"] for answer in answers}) == len(words)


async def test_the_judge_gets_the_requests_own_tests_and_limits(serving):
    await serving.answer(alpharay={"tests": TESTS, "budget": 1, "time_limit_s": 2.5, "memory_limit_mb": 64})
    ((tests, _, limits, language, _),) = serving.judging.calls
    assert [(case.input, case.output) for case in tests.cases] == [("2 3", "5"), ("1 1", "2")]
    assert (limits.cpu_s, limits.memory_mb, language) == (2.5, 64, "python")


async def test_the_judge_is_told_which_request_a_candidate_belongs_to(serving):
    first = await serving.answer(alpharay={"tests": TESTS, "budget": 5})
    second = await serving.answer(alpharay={"tests": TESTS, "budget": 5})
    groups = [group for *_, group in serving.judging.calls]
    assert len(groups) == 10
    assert len(set(groups)) == 2
    assert first["id"] != second["id"]


# Streamed


async def test_a_streamed_budget_replays_the_winner_with_its_notes_in_the_last_event(serving):
    serving.judging.verdict = accept(NAMES[3])
    events, _ = await serving.events(alpharay={"tests": TESTS})
    assert rebuilt(events)[0].startswith(NAMES[3])
    assert events[-1]["alpharay"]["stopped"] == "passes"
    assert events[-1]["choices"][0]["alpharay"]["verdict"] == "accepted"
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_streamed_budget_keeps_the_connection_alive_while_it_draws(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 65.0)
    events, text = await serving.events(alpharay={"budget": 5})
    assert text.count(": keep-alive\n\n") == 6  # every 10 s of 65
    empty = [event for event in events if event["choices"] and event["choices"][0]["delta"] == {}]
    assert len(empty) == 7  # one with each comment, and the end
    assert rebuilt(events)[0]


async def test_an_error_after_the_headers_is_told_as_the_streams_last_event(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    events, _ = await serving.events(alpharay={"budget": 5, "deadline_s": 60})
    assert events[-1]["error"]["type"] == "overloaded_error"


async def test_a_streamed_request_with_usage_ends_in_a_usage_event(serving):
    events, _ = await serving.events(stream_options={"include_usage": True}, alpharay={"budget": 5})
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == COMPLETION_TOKENS
    assert events[-1]["alpharay"]["drawn"] == 5


async def test_the_first_text_of_a_streamed_answer_is_timed_once(serving):
    await serving.events(alpharay={"budget": 5})
    assert serving.counted("alpharay_time_to_first_token_seconds_count") == 1


# What is counted


async def test_an_answer_adds_its_samples_tokens_and_verdicts_to_the_metrics(serving):
    serving.judging.verdict = accept(NAMES[0])
    controls = {"tests": TESTS, "budget": 5, "stop_after_passes": 5}
    await serving.answer(alpharay=controls)
    assert serving.counted("alpharay_samples_total", outcome="finished") == 5
    assert serving.counted("alpharay_tokens_total", kind="completion") == 5 * COMPLETION_TOKENS
    assert serving.counted("alpharay_tokens_total", kind="prompt") == 5 * PROMPT_TOKENS
    assert serving.counted("alpharay_verdicts_total", member=NAMES[0], verdict="accepted") == 1
    assert serving.counted("alpharay_verdicts_total", verdict="wrong_answer") == 4
    assert (
        serving.counted("alpharay_selected_total")
        == serving.counted("alpharay_selected_total", member=NAMES[0])
        == 1
    )
    assert serving.counted("alpharay_wasted_tokens_total", reason="failed") == 4 * COMPLETION_TOKENS
    assert serving.counted("alpharay_samples_to_first_pass_sum") == 1
    assert serving.counted("alpharay_requests_total", endpoint="chat", outcome="ok") == 1


async def test_every_sample_that_was_started_is_counted_once(serving):
    serving.engines.seconds = {NAMES[3]: 50.0}
    serving.engines.dead = {NAMES[4]}
    serving.judging.verdict = accept(NAMES[0])
    serving.judging.seconds = 5.0
    controls = {"tests": TESTS, "budget": 20}
    await serving.answer(alpharay=controls)
    assert serving.counted("alpharay_samples_total") == len(serving.engines.calls)


async def test_an_answer_is_json_with_the_clients_model_name(serving):
    answer = await serving.answer(model="frontier")
    assert (answer["model"], answer["object"]) == ("frontier", "chat.completion")
    assert json.dumps(answer)
