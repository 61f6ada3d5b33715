import json

import pytest

from alpharay.judge.problem import parse_tests
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.serve.dialects import chat, completions, messages, responses
from alpharay.serve.sampling.repair import feedback, follow_up

from .fakes import NAMES, TESTS, Serving, completion, refusal

HIDDEN = {"input": "83059776", "output": "96"}
PROMPT = "Count the even divisors of n.\nSample input:\n10\nSample output:\n2\n"


def stdio(*cases):
    return parse_tests({"kind": "stdio", "cases": list(cases)})


def failed(case=0, kind=VerdictKind.WRONG_ANSWER, detail="got 7"):
    return Verdict(kind, case, 3, detail=detail, failed_case=case)


def test_a_case_that_the_prompt_shows_is_told_with_what_was_seen():
    text = feedback(failed(), stdio({"input": "10\n", "output": "2\n"}, HIDDEN), PROMPT)
    assert "wrong answer" in text
    assert "input:\n10\nexpected output:\n2" in text
    assert "got 7" in text


@pytest.mark.parametrize("level", [None, 1, 2])
def test_a_hidden_case_is_never_told(level):
    case = HIDDEN | ({} if level is None else {"level": level})
    text = feedback(
        failed(1, detail="got 7 for 83059776"), stdio({"input": "10", "output": "2"}, case), PROMPT
    )
    assert "hidden" in text
    assert not {"83059776", "96", "7"} & set(text.replace(".", " ").split())


def test_numbers_that_merely_occur_in_the_prompt_do_not_make_a_case_public():
    prompt = "Given n up to 10 print 2 lines."
    assert "hidden" in feedback(failed(), stdio({"input": "10", "output": "2"}), prompt)


def test_a_case_of_level_0_is_public_and_so_are_tests_taken_from_the_prompt():
    assert "83059776" in feedback(failed(), stdio(HIDDEN | {"level": 0}), PROMPT)
    assert "83059776" in feedback(failed(), stdio(HIDDEN), PROMPT, all_public=True)


def test_a_call_is_shown_as_it_was_called():
    tests = parse_tests(
        {
            "kind": "call",
            "entry_point": "f",
            "cases": [{"args": [[1, 2]], "kwargs": {"k": None}, "output": "x", "level": 0}],
        }
    )
    assert 'called with ([1, 2], k=null)\nexpected: "x"' in feedback(failed(), tests, "")


def test_a_test_program_is_never_shown():
    tests = parse_tests({"kind": "code", "code": "assert f(41) == 42"})
    assert "hidden" in feedback(
        failed(kind=VerdictKind.RUNTIME_ERROR, detail="assert f(41) == 42"), tests, ""
    )


def test_what_is_wrong_with_the_text_itself_is_told():
    text = feedback(
        failed(kind=VerdictKind.COMPILE_ERROR, detail="line 3: invalid syntax"), stdio(HIDDEN), ""
    )
    assert "line 3: invalid syntax" in text
    assert "83059776" not in text


@pytest.mark.parametrize("kind", [kind for kind in VerdictKind if kind is not VerdictKind.ACCEPTED])
def test_every_failure_is_told_briefly(kind):
    long = {"input": "9" * 5000, "output": "1" * 5000, "level": 0}
    assert len(feedback(failed(kind=kind, detail="e" * 1900), stdio(long), "")) < 6000


REQUESTS = {
    chat: {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]},
    messages: {"messages": [{"role": "user", "content": "q"}], "max_tokens": 9},
    responses: {"input": "q"},
    completions: {"prompt": "q"},
}


@pytest.mark.parametrize("dialect", REQUESTS, ids=lambda dialect: dialect.NAME)
def test_a_conversation_goes_on_in_its_own_dialect(dialect):
    request = dialect.read({"model": "frontier", **REQUESTS[dialect]})
    next_request = follow_up(request, "my answer", "what failed\nand why")
    body = json.loads(
        dialect.engine_body(next_request, "frontier@1", seed=3, draw=True, request_id="r-1").whole()
    )
    conversation = body.get("messages", body.get("input", body.get("prompt")))
    if isinstance(conversation, str):
        assert conversation == "qmy answer\n# what failed\n# and why\n"
    else:
        assert [turn["role"] for turn in conversation[-3:]] == ["user", "assistant", "user"]
        assert (conversation[-2]["content"], conversation[-1]["content"]) == (
            "my answer",
            "what failed\nand why",
        )
    again = follow_up(next_request, "", "third")
    assert "what failed" in again.rest
    assert "third" in again.rest


def test_a_prompt_of_token_ids_is_drawn_again_as_it_was():
    request = completions.read({"model": "frontier", "prompt": [1, 2, 3]})
    assert follow_up(request, "a", "b") is request


# Through a whole server


def mending(member, body):
    """Answers each turn with the number of the attempt and the member's name."""
    answer = completion(member, body)
    turns = sum(message["role"] == "assistant" for message in body["messages"])
    answer["choices"][0]["message"]["content"] = f"attempt {turns + 1} of {member}"
    return answer


async def serving_that_mends(at):
    serving = Serving()
    serving.engines.answer = mending
    serving.judging.verdict = lambda text: (
        VerdictKind.ACCEPTED if f"attempt {at} " in text else VerdictKind.WRONG_ANSWER
    )
    await serving.all_up()
    return serving


@pytest.mark.parametrize("turn", [2, 3])
async def test_a_failed_attempt_is_mended_by_the_member_that_made_it(turn):
    serving = await serving_that_mends(at=turn)
    answer = await serving.answer(alpharay={"tests": TESTS, "turns": 3, "budget": 200}, seed=4)
    choice = answer["choices"][0]
    assert choice["alpharay"]["turn"] == turn
    assert choice["alpharay"]["verdict"] == "accepted"
    assert choice["message"]["content"] == f"attempt {turn} of {choice['alpharay']['member']}"
    assert answer["alpharay"]["drawn"] <= 200
    assert len({call["seed"] for _, call, _ in serving.engines.calls}) == len(serving.engines.calls)
    serving.finish()


async def test_the_member_sees_its_attempt_and_no_hidden_test():
    serving = await serving_that_mends(at=2)
    await serving.answer(alpharay={"tests": TESTS, "turns": 2, "budget": 60}, seed=4)
    member, body, _ = next(call for call in serving.engines.calls if len(call[1]["messages"]) > 1)
    _, attempt, feedback_message = body["messages"]
    assert attempt == {"role": "assistant", "content": f"attempt 1 of {member}"}
    assert "hidden" in feedback_message["content"]
    assert "5" not in feedback_message["content"]
    serving.finish()


async def test_with_one_turn_nobody_is_told_off():
    serving = await serving_that_mends(at=2)
    answer = await serving.answer(alpharay={"tests": TESTS, "budget": 40})
    assert answer["alpharay"]["stopped"] == "budget"
    assert {len(body["messages"]) for _, body, _ in serving.engines.calls} == {1}
    serving.finish()


async def test_where_a_further_turn_does_not_fit_the_model_it_is_drawn_again():
    serving = await serving_that_mends(at=9)
    plain = serving.engines.sample

    async def sample(member, path, body, headers):
        if "assistant" in body.rest:
            return refusal(400, "longer than the model takes")
        return await plain(member, path, body, headers)

    serving.engines.sample = sample
    answer = await serving.answer(alpharay={"tests": TESTS, "turns": 3, "budget": 30})
    assert answer["alpharay"]["drawn"] == 30
    serving.finish()


async def test_turns_without_tests_are_refused_with_the_reason():
    serving = await serving_that_mends(at=2)
    response = await serving.chat(alpharay={"turns": 2, "budget": 4})
    assert response.status_code == 400
    assert "only a failed test leads to another turn" in response.json()["error"]["message"]


@pytest.mark.parametrize("policy", ["uniform", "single", "portfolio", "bandit", "adaptive"])
async def test_every_policy_serves(policy):
    serving = await serving_that_mends(at=2)
    for _ in range(3):
        answer = await serving.answer(alpharay={"tests": TESTS, "policy": policy, "budget": 12})
        assert answer["alpharay"]["drawn"] == 12
        assert set(answer["alpharay"]["members"]) <= set(NAMES)
    serving.finish()
