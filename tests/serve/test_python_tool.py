import json

import pytest

from alpharay.judge.program import extract_program
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.serve.dialects import completions, messages, responses
from alpharay.serve.sampling.python_tool import MOST_CALLS, fenced, report
from alpharay.serve.transport.clients import SampleLost

from .clock import pass_time
from .fakes import (
    ALPHAS,
    COMPLETION_TOKENS,
    NAMES,
    PROMPT_TOKENS,
    TESTS,
    Call,
    Serving,
    completion,
    question,
    rebuilt,
    refusal,
)

PARSED = {"extra": {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"}}
CODE = "print(6 * 7)"


def calling(times, *, arguments=None, name="python", at_once=1):
    """An engine whose model calls the tool in its first `times` rounds, and then answers which round it is in."""

    def answer(member, body):
        made = completion(member, body)
        message = made["choices"][0]["message"]
        rounds = sum(turn["role"] == "assistant" for turn in body["messages"])
        if rounds < times and body.get("tool_choice") != "none":
            tool_arguments = json.dumps({"code": CODE}) if arguments is None else arguments
            message["content"] = None
            message["tool_calls"] = [
                {
                    "id": f"call_{rounds}_{each}",
                    "type": "function",
                    "function": {"name": name, "arguments": tool_arguments},
                }
                for each in range(at_once)
            ]
            made["choices"][0]["finish_reason"] = "tool_calls"
        else:
            message["content"] = f"round {rounds} of {member}"
        return made

    return staticmethod(answer)


@pytest.fixture
async def tooled(serve):
    """tooled(times, …) is a server whose model calls the tool that often."""

    async def start(times, *, router=None, **options):
        serving = await serve(engine=PARSED, router=router or {})
        serving.engines.answer = calling(times, **options).__func__
        return serving

    return start


def bodies(serving):
    return [body for _, body, _ in serving.engines.calls]


async def test_the_member_that_called_goes_on_with_what_its_program_printed(tooled):
    serving = await tooled(2)
    answer = await serving.answer(alpharay={"tools": ["python"]}, seed=5)
    choice = answer["choices"][0]
    member = choice["alpharay"]["member"]
    assert choice["message"]["content"] == f"round 2 of {member}"
    assert choice["finish_reason"] == "stop"
    assert choice["alpharay"]["python"] == [{"code": CODE, "output": "42\n"}] * 2
    assert {who for who, _, _ in serving.engines.calls} == {member}
    assert len({body["seed"] for body in bodies(serving)}) == 1
    last = bodies(serving)[-1]
    assert [message["role"] for message in last["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
    ]
    assert last["messages"][1]["tool_calls"][0]["id"] == last["messages"][2]["tool_call_id"]
    assert last["messages"][2]["content"] == "42\n"
    assert last["tools"][0]["function"]["name"] == "python"
    assert [extract_program(text).source for _, text, *_ in serving.judging.calls] == [f"{CODE}\n"] * 2


async def test_the_whole_trajectory_is_one_sample_and_all_its_tokens_count(tooled):
    serving = await tooled(3)
    answer = await serving.answer(alpharay={"tools": ["python"], "tests": TESTS, "budget": 2})
    summary = answer["alpharay"]
    assert summary["drawn"] == 2
    assert summary["usage"] == {
        "prompt_tokens": 8 * PROMPT_TOKENS,
        "completion_tokens": 8 * COMPLETION_TOKENS,
    }
    assert answer["usage"]["prompt_tokens"] == PROMPT_TOKENS
    assert answer["usage"]["completion_tokens"] == 4 * COMPLETION_TOKENS
    assert serving.counted("alpharay_tokens_total", kind="completion") == 8 * COMPLETION_TOKENS
    assert serving.counted("alpharay_samples_total", outcome="finished") == 2
    assert serving.counted("alpharay_verdicts_total") == 2  # of candidates, not of calls


@pytest.mark.parametrize("policy", ["uniform", "single", "portfolio", "bandit", "adaptive"])
async def test_every_policy_draws_trajectories(tooled, policy):
    serving = await tooled(1)
    serving.judging.verdict = lambda text: (
        VerdictKind.ACCEPTED if text.startswith("round 1") else VerdictKind.WRONG_ANSWER
    )
    answer = await serving.answer(
        alpharay={"tools": ["python"], "tests": TESTS, "policy": policy, "budget": 6, "stop_after_passes": 3}
    )
    assert answer["alpharay"]["stopped"] == "passes"
    assert answer["choices"][0]["alpharay"]["verdict"] == "accepted"
    assert len(answer["choices"][0]["alpharay"]["python"]) == 1


async def test_when_no_calls_are_left_the_member_must_answer(tooled):
    serving = await tooled(100)
    answer = await serving.answer(alpharay={"tools": ["python"]})
    choice = answer["choices"][0]
    assert len(choice["alpharay"]["python"]) == len(serving.judging.calls) == MOST_CALLS
    assert choice["message"]["content"].startswith(f"round {MOST_CALLS} of")
    assert [body.get("tool_choice") for body in bodies(serving)] == [
        None,
        *["auto"] * (MOST_CALLS - 1),
        "none",
    ]


async def test_calls_made_at_once_count_one_by_one_and_those_beyond_are_not_run(tooled):
    serving = await tooled(100, at_once=MOST_CALLS - 1)
    answer = await serving.answer(alpharay={"tools": ["python"]})
    assert len(serving.judging.calls) == MOST_CALLS == len(answer["choices"][0]["alpharay"]["python"])
    outputs = [message["content"] for message in bodies(serving)[-1]["messages"] if message["role"] == "tool"]
    assert outputs[:MOST_CALLS] == ["42\n"] * MOST_CALLS
    assert set(outputs[MOST_CALLS:]) == {"not run: no calls are left"}


@pytest.mark.parametrize("arguments", ["print(1)", "[1]", '{"code": 3}', "", "{" * 9999])
async def test_arguments_that_are_none_are_told_and_count(tooled, arguments):
    serving = await tooled(1, arguments=arguments)
    answer = await serving.answer(alpharay={"tools": ["python"]})
    assert not serving.judging.calls
    (ran,) = answer["choices"][0]["alpharay"]["python"]
    assert "must be an object" in ran["output"]
    sent_arguments = bodies(serving)[-1]["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert isinstance(json.loads(sent_arguments), dict)


async def test_a_tool_that_is_not_there_is_told(tooled):
    serving = await tooled(1, name="bash")
    answer = await serving.answer(alpharay={"tools": ["python"]})
    assert "only 'python'" in answer["choices"][0]["alpharay"]["python"][0]["output"]
    assert not serving.judging.calls


async def test_half_a_surrogate_pair_in_a_program_does_not_break_the_answer(tooled):
    serving = await tooled(1, arguments='{"code": "print(\\"\\ud800\\")"}')
    answer = await serving.answer(alpharay={"tools": ["python"]})
    assert answer["choices"][0]["alpharay"]["python"][0]["code"] == 'print("?")'


async def test_without_a_sandbox_the_member_answers_all_the_same(tooled):
    serving = await tooled(100, at_once=2)
    serving.judging.away = True
    answer = await serving.answer(alpharay={"tools": ["python"]})
    assert answer["alpharay"]["judge"] == "unavailable"
    assert answer["choices"][0]["message"]["content"].startswith("round 1 of")
    assert bodies(serving)[-1]["tool_choice"] == "none"
    outputs = [message["content"] for message in bodies(serving)[-1]["messages"] if message["role"] == "tool"]
    assert outputs == ["not run: the sandbox is unreachable"] * 2


async def test_a_conversation_that_becomes_too_long_ends_with_what_there_is(tooled):
    serving = await tooled(100)
    short = serving.engines.sample

    async def sample(member, path, body, headers):
        if len(json.loads(body.whole())["messages"]) > 3:
            return refusal(400, "longer than the model takes")
        return await short(member, path, body, headers)

    serving.engines.sample = sample
    answer = await serving.answer(alpharay={"tools": ["python"]})
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"] == {"role": "assistant", "content": ""}
    assert len(choice["alpharay"]["python"]) == 2


async def test_an_engine_lost_between_two_rounds_loses_the_sample_and_another_is_drawn(tooled):
    serving = await tooled(1)
    whole = serving.engines.sample
    lost = []

    async def sample(member, path, body, headers):
        if "tool_call_id" in body.rest and not lost:
            lost.append(member)
            raise SampleLost(f"{member} died")
        return await whole(member, path, body, headers)

    serving.engines.sample = sample
    answer = await serving.answer(alpharay={"tools": ["python"]})
    assert lost
    assert answer["alpharay"]["drawn"] == 1
    assert answer["choices"][0]["message"]["content"].startswith("round 1 of")


@pytest.mark.parametrize("where", ["engine", "sandbox"])
async def test_a_caller_who_leaves_frees_the_round_that_is_under_way(tooled, where):
    serving = await tooled(100)
    if where == "sandbox":
        serving.judging.seconds = 100
    else:
        serving.engines.seconds = dict.fromkeys(NAMES, 100.0)
    call = Call(serving.app, question(alpharay={"tools": ["python"], "budget": 3}))
    held = serving.judging if where == "sandbox" else serving.engines

    await pass_time(1)
    assert len(held.held) == 3
    call.leave()
    await call.end()
    assert held.cancelled == 3
    serving.finish()


async def test_a_deadline_between_rounds_ends_what_is_under_way(tooled):
    serving = await tooled(100)
    serving.judging.seconds = 40
    response = await serving.chat(alpharay={"tools": ["python"], "deadline_s": 60})
    assert response.status_code == 503
    assert "the deadline came first" in response.json()["error"]["message"]
    assert serving.judging.cancelled == 1


async def test_a_streamed_request_gets_the_answer_and_its_calls(tooled):
    serving = await tooled(1)
    events, _ = await serving.events(alpharay={"tools": ["python"]})
    assert rebuilt(events)[0].startswith("round 1 of")
    assert "tool_calls" not in json.dumps(events)
    note = next(choice["alpharay"] for event in events for choice in event["choices"] if "alpharay" in choice)
    assert note["python"] == [{"code": CODE, "output": "42\n"}]


async def test_a_named_member_may_use_the_tool_too(tooled):
    serving = await tooled(1)
    answer = await serving.answer(model=NAMES[-1], alpharay={"tools": ["python"]})
    assert answer["choices"][0]["alpharay"]["alpha"] == ALPHAS[-1]
    assert len(answer["choices"][0]["alpharay"]["python"]) == 1


async def test_a_header_asks_for_it_as_well(tooled):
    serving = await tooled(1)
    answer = await serving.answer({"X-Alpharay-Tools": "python"})
    assert len(answer["choices"][0]["alpharay"]["python"]) == 1


async def test_a_failed_trajectory_is_mended_by_another(tooled):
    serving = await tooled(1)
    answer = await serving.answer(
        alpharay={"tools": ["python"], "tests": TESTS, "turns": 2, "budget": 40, "return": "all"}, seed=3
    )
    assert {choice["alpharay"]["turn"] for choice in answer["choices"]} == {1, 2}
    mended = [
        body for body in bodies(serving) if any("failed" in str(m["content"]) for m in body["messages"])
    ]
    assert mended
    assert all(body["tools"][0]["function"]["name"] == "python" for body in mended)


async def test_what_the_caller_wants_called_is_wanted_in_the_first_round_only(tooled):
    serving = await tooled(1)
    await serving.answer(alpharay={"tools": ["python"]}, tool_choice="required")
    assert [body["tool_choice"] for body in bodies(serving)] == ["required", "auto"]


async def test_no_test_reaches_a_run_or_what_is_told_of_it(tooled):
    serving = await tooled(2)
    await serving.answer(alpharay={"tools": ["python"], "tests": TESTS, "budget": 1})
    runs = [call for call in serving.judging.calls if "round" not in call[1]]
    assert [call[0] for call in runs] == [None, None]
    assert all("2 3" not in json.dumps(body["messages"]) for body in bodies(serving))


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (completions, {"prompt": "q"}),
        (responses, {"input": "q"}),
        (messages, {"messages": [{"role": "user", "content": "q"}], "max_tokens": 9}),
    ],
    ids=["completions", "responses", "messages"],
)
async def test_other_dialects_say_where_to_ask(tooled, dialect, body):
    serving = await tooled(1)
    response = await serving.http.post(dialect.PATH, json={**body, "alpharay": {"tools": ["python"]}})
    assert response.status_code == 400
    assert "/v1/chat/completions" in response.text


async def test_tools_of_the_callers_own_leave_no_room_for_it(tooled):
    serving = await tooled(1)
    own = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    response = await serving.chat(alpharay={"tools": ["python"]}, tools=own)
    assert response.status_code == 400
    assert "leave one of the two out" in response.text


async def test_a_model_without_a_parser_for_calls_says_how_to_give_it_one():
    serving = Serving()
    await serving.all_up()
    response = await serving.chat(alpharay={"tools": ["python"]})
    assert response.status_code == 400
    assert "tool_call_parser" in response.json()["error"]["message"]
    assert not serving.engines.calls


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict(VerdictKind.ACCEPTED, 1, 1, stdout=""), "(it printed nothing)"),
        (
            Verdict(
                VerdictKind.RUNTIME_ERROR, 0, 1, stdout="a\n", detail="Traceback\n  line 1\nValueError: x"
            ),
            "a\nerror: ValueError: x",
        ),
        (Verdict(VerdictKind.TIME_LIMIT, 0, 1, stdout="", detail="6.0 s"), "error: it ran out of time"),
        (Verdict(VerdictKind.JUDGE_ERROR, 0, 1), "error: it could not be run, for no fault of its own"),
    ],
)
def test_what_is_told_of_a_run(verdict, expected):
    assert report(verdict) == expected


def test_a_long_output_is_cut_and_says_so():
    text = report(Verdict(VerdictKind.ACCEPTED, 1, 1, stdout="x" * 4096))
    assert text.endswith("(the first 4096 bytes)")
    assert len(report(Verdict(VerdictKind.RUNTIME_ERROR, 0, 1, stdout="x" * 4096, detail="e" * 2000))) < 4700


@pytest.mark.parametrize(
    "code", ["", "print(1)", "s = '''\n```\n'''", "````python\nx\n````", "~~~\n`\n```` `````"]
)
def test_a_program_reaches_the_sandbox_as_it_was_written_whatever_fences_it_has(code):
    program = extract_program(fenced(code))
    assert (program.source if program else "\n") == f"{code}\n"
