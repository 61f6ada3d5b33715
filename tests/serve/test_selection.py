"""Selectors over HTTP: what engine and judge get for them, and the prompt's own examples as tests."""

import math

import pytest

from alpharay.judge import CallTests, StdioTests, VerdictKind
from alpharay.serve.dialects import chat, completions, messages
from alpharay.serve.sampling.evidence import mean_logprob

from .fakes import TESTS, completion, question

SAMPLED = "Add two numbers.\nSample input:\n2 3\nSample output:\n5\n"


async def sampling(serving, *, prompt="a + b?", **controls):
    return await serving.answer(messages=[{"role": "user", "content": prompt}], alpharay=controls)


def text_of(answer):
    return answer["choices"][0]["message"]["content"]


def with_logprobs(values):
    """Engines whose answers are as likely as `values[seed order]` says, where the request wants log-probabilities."""
    order = iter(values)

    def answer(member, body):
        made = completion(member, body)
        if body.get("logprobs"):
            value = next(order)
            made["choices"][0]["logprobs"] = {"content": [{"token": "x", "logprob": value}]}
            made["choices"][0]["message"]["content"] = f"{value}"
        return made

    return answer


async def test_logprob_asks_the_engine_answers_the_likeliest_and_hides_what_nobody_asked_for(serving):
    serving.engines.answer = with_logprobs([-3.0, -0.5, -2.0])
    answer = await sampling(serving, budget=3, selector="logprob")
    assert text_of(answer) == "-0.5"
    assert [call["logprobs"] for _, call, _ in serving.engines.calls] == [True] * 3
    assert answer["choices"][0]["logprobs"] is None


async def test_logprobs_that_the_caller_asked_for_stay(serving):
    serving.engines.answer = with_logprobs([-3.0, -0.5])
    answer = await serving.answer(logprobs=True, alpharay={"budget": 2, "selector": "logprob"})
    assert answer["choices"][0]["logprobs"] == {"content": [{"token": "x", "logprob": -0.5}]}


async def test_majority_answers_what_most_say(serving):
    texts = iter(["The answer is 4.", "I think it is 5", "answer: 4.0", "5 it is", r"\boxed{4}"])

    def answer(member, body):
        made = completion(member, body)
        made["choices"][0]["message"]["content"] = next(texts)
        return made

    serving.engines.answer = answer
    assert "4" in text_of(await sampling(serving, budget=5, selector="majority"))


@pytest.mark.parametrize("selector", ["cluster", "codet", "b4"])
async def test_behaviour_is_compared_on_shared_inputs_made_from_the_tests(serving, selector):
    alike = {1, 3, 4}

    def outputs(text):
        return (
            ("same", "same") if int(text.rsplit("@")[-1].split()[0] in ("0", "1", "1.5")) else (text, "other")
        )

    serving.judging.outputs = outputs
    answer = await sampling(serving, budget=5, tests=TESTS, selector=selector)
    assert text_of(answer).split()[0] in ("frontier@0", "frontier@1", "frontier@1.5"), alike
    observed = [tests for tests, *_ in serving.judging.calls if len(tests.cases) > len(TESTS["cases"])]
    assert len(observed) == 5
    assert len({id(tests) for tests in observed}) == 1
    assert [case.input for case in observed[0].cases[:2]] == ["2 3", "1 1"]
    assert {case.output for case in observed[0].cases} == {""}


async def test_what_passes_wins_over_what_agrees(serving):
    serving.judging.outputs = lambda text: (text,) if "@1.5" in text else ("same",)
    serving.judging.verdict = lambda text: (
        VerdictKind.ACCEPTED if "@1.5" in text else VerdictKind.WRONG_ANSWER
    )
    assert "@1.5" in text_of(await sampling(serving, budget=5, tests=TESTS, selector="cluster"))


async def test_examples_in_the_prompt_become_public_tests_when_a_budget_is_asked_for(serving):
    serving.judging.verdict = lambda text: (
        VerdictKind.ACCEPTED if "@0.5" in text else VerdictKind.WRONG_ANSWER
    )
    answer = await sampling(serving, prompt=SAMPLED, budget=7)
    assert answer["alpharay"]["tests"] == "from_prompt"
    assert answer["alpharay"]["judge"] == "ok"
    assert (answer["alpharay"]["drawn"], answer["alpharay"]["stopped"]) == (7, "budget")
    assert "@0.5" in text_of(answer)
    (tests, *_), *_ = serving.judging.calls
    assert isinstance(tests, StdioTests)
    assert [(case.input, case.output) for case in tests.cases] == [("2 3\n", "5")]


async def test_one_pass_of_the_prompts_examples_stops_only_who_says_so(serving):
    serving.judging.verdict = lambda _: VerdictKind.ACCEPTED
    answer = await sampling(serving, prompt=SAMPLED, budget=7, stop_after_passes=1)
    assert answer["alpharay"]["stopped"] == "passes"


@pytest.mark.parametrize(
    ("prompt", "controls"),
    [(SAMPLED, {}), ("Add two numbers.", {"budget": 3}), (SAMPLED, {"budget": 3, "tests": TESTS})],
)
async def test_examples_are_not_taken_without_a_budget_nor_instead_of_tests(serving, prompt, controls):
    answer = await sampling(serving, prompt=prompt, **controls)
    assert "tests" not in answer["alpharay"]


LEETCODE = "function twoSum(nums, target)\n\nInput: nums = [2,7], target = 9\nOutput: [0,1]\n"
BY_NAME = 'def f(x, y):\n    """\n    >>> f(2, y=1)\n    4\n    """'


@pytest.mark.parametrize(
    ("prompt", "language", "taken"),
    [
        (LEETCODE, "javascript", True),
        (LEETCODE, "cpp", False),
        (BY_NAME, "javascript", False),
        (BY_NAME, "python", True),
    ],
)
async def test_examples_are_taken_for_a_language_that_can_be_called_with_them(
    serving, prompt, language, taken
):
    answer = await sampling(serving, prompt=prompt, budget=2, language=language)
    assert ("tests" in answer["alpharay"]) is taken


async def test_examples_of_functions_are_calls(serving):
    await sampling(serving, prompt='def f(x):\n    """\n    >>> f(2)\n    4\n    """', budget=2)
    (tests, *_), *_ = serving.judging.calls
    assert isinstance(tests, CallTests)


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"budget": 3, "selector": "b4"}, "there are none: send `stdio` or `call` tests"),
        ({"tests": {"kind": "code", "code": "assert f(1)"}, "selector": "cluster"}, "there are none"),
        ({"tests": TESTS, "language": "cobol"}, "choose one of python, cpp"),
        (
            {
                "tests": {"kind": "call", "entry_point": "f", "cases": [{"args": [], "output": 1}]},
                "language": "cpp",
            },
            "tests of kind call need language python",
        ),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_drawn(serving, controls, message):
    response = await serving.chat(alpharay=controls)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]
    assert serving.engines.calls == []


async def test_a_language_that_the_judge_lacks_is_refused_before_anything_is_drawn(serving):
    serving.judging.missing = "C++ needs g++, which is not installed; install it with: apt-get install g++"
    response = await serving.chat(alpharay={"tests": TESTS, "language": "cpp"})
    assert response.status_code == 400
    assert "apt-get install g++" in response.json()["error"]["message"]
    assert serving.engines.calls == []
    serving.judging.missing = ""
    await sampling(serving, tests=TESTS, language="cpp", budget=1)
    assert [language for *_, language, _ in serving.judging.calls] == ["cpp"]


async def test_a_judge_out_of_reach_leaves_behaviour_unknown(serving):
    serving.judging.away = True
    answer = await sampling(serving, budget=3, tests=TESTS, selector="b4")
    assert answer["alpharay"]["judge"] == "unavailable"


async def test_messages_tell_no_logprobs(serving):
    body = {**question(max_tokens=5), "alpharay": {"budget": 2, "selector": "logprob"}}
    response = await serving.http.post(messages.PATH, json=body)
    assert response.status_code == 400
    assert completions.PATH in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("logprobs", "mean"),
    [
        ({"content": [{"logprob": -1}, {"logprob": -2.0}]}, -1.5),
        ({"token_logprobs": [None, -2.0, -4.0]}, -3.0),
        ({"content": []}, None),
        ({"content": [{"logprob": -math.inf}]}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_mean_is_over_the_tokens_that_are_told_of(logprobs, mean):
    assert mean_logprob(logprobs) == mean


def test_every_path_that_tells_logprobs_is_a_dialects():
    from alpharay.serve.sampling.evidence import _ASKS_LOGPROBS

    assert set(_ASKS_LOGPROBS) == {chat.PATH, completions.PATH}
