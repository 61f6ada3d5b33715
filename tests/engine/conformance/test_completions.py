"""Legacy completions as vLLM's own server answers them."""

from __future__ import annotations

import pytest

from .target import ASKED, COMPLETIONS, FIXED, Target, ends, texts

pytestmark = pytest.mark.engine

PROMPT = ASKED[COMPLETIONS]["prompt"]


def test_an_answer_has_the_shape_of_a_completion(target: Target):
    answer = target.answer(COMPLETIONS)
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    (choice,) = answer["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "length")
    assert answer["usage"]["completion_tokens"] == 6


def test_sixteen_tokens_are_written_where_no_number_is_given(target: Target):
    answer = target.answer(COMPLETIONS, max_tokens=None, ignore_eos=True)
    assert answer["usage"]["completion_tokens"] in {16, 512 - answer["usage"]["prompt_tokens"]}


def test_a_stream_holds_the_text_of_the_same_request_unstreamed(target: Target):
    fixed = {**FIXED, "max_tokens": 20}
    chunks = target.chunks(COMPLETIONS, **fixed)
    whole = target.answer(COMPLETIONS, **fixed)["choices"][0]
    assert (texts(chunks), ends(chunks)) == ({0: whole["text"]}, {0: whole["finish_reason"]})


def test_a_prompt_may_be_token_ids(target: Target):
    ids = target.answer(COMPLETIONS, return_token_ids=True)["choices"][0]["prompt_token_ids"]
    fixed = {**FIXED, "max_tokens": 12}
    by_ids = target.answer(COMPLETIONS, prompt=ids, **fixed)
    assert by_ids["choices"][0]["text"] == target.answer(COMPLETIONS, **fixed)["choices"][0]["text"]
    assert by_ids["usage"]["prompt_tokens"] == len(ids)


@pytest.mark.parametrize("prompts", [[PROMPT, "a = 1\n"], [[5, 6, 7], [8, 9]]])
def test_several_prompts_have_a_choice_each_in_their_order(target: Target, prompts):
    fixed = {"temperature": 0, "max_tokens": 8}
    whole = target.answer(COMPLETIONS, prompt=prompts, **fixed)
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    chunks = target.chunks(COMPLETIONS, prompt=prompts, **fixed)
    assert sorted(texts(chunks)) == [0, 1]


def test_several_prompts_with_several_choices_are_numbered_through(target: Target):
    body = {"prompt": [PROMPT, PROMPT], "n": 2, "temperature": 1.0}
    whole = target.answer(COMPLETIONS, **body)
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    assert ends(target.chunks(COMPLETIONS, **body)) == dict.fromkeys(range(4), "length")


def test_several_choices_count_what_all_of_them_took(target: Target):
    answer = target.answer(COMPLETIONS, n=3, temperature=1.0)
    assert (len(answer["choices"]), answer["usage"]["completion_tokens"]) == (3, 18)


def test_the_prompt_is_echoed(target: Target):
    assert target.answer(COMPLETIONS, echo=True)["choices"][0]["text"].startswith(PROMPT)
    assert texts(target.chunks(COMPLETIONS, echo=True))[0].startswith(PROMPT)


def test_a_prompt_is_scored_without_an_answer(target: Target):
    choice = target.answer(COMPLETIONS, prompt="abc def", max_tokens=0, echo=True, logprobs=1)["choices"][0]
    assert choice["text"] == "abc def"
    assert len(choice["logprobs"]["tokens"]) == len(choice["logprobs"]["token_logprobs"]) > 1


@pytest.mark.parametrize("count", [0, 1, 5])
def test_logprobs_come_for_every_token(target: Target, count):
    logprobs = target.answer(COMPLETIONS, logprobs=count)["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) == len(logprobs["token_logprobs"]) == len(logprobs["text_offset"]) == 6
    assert all(max(1, count) <= len(top) <= count + 1 for top in logprobs["top_logprobs"])


def test_logprobs_of_an_echoed_prompt_begin_with_none(target: Target):
    answer = target.answer(COMPLETIONS, logprobs=1, echo=True, **FIXED)
    logprobs, used = answer["choices"][0]["logprobs"], answer["usage"]
    assert len(logprobs["tokens"]) == used["prompt_tokens"] + 6
    assert logprobs["token_logprobs"][0] is None
    assert all(logprob is not None for logprob in logprobs["token_logprobs"][1:])


def test_logprobs_are_streamed(target: Target):
    chunks = target.chunks(COMPLETIONS, logprobs=2)
    tokens = [
        t
        for chunk in chunks
        for choice in chunk["choices"]
        for t in (choice.get("logprobs") or {"tokens": []})["tokens"]
    ]
    assert len(tokens) == 6


def test_more_logprobs_than_the_engine_gives_are_refused(target: Target):
    assert target.refusal(COMPLETIONS, logprobs=50)["param"] == "logprobs"


def test_prompt_logprobs_come_unstreamed_and_are_refused_to_a_stream(target: Target):
    answer = target.answer(COMPLETIONS, prompt_logprobs=1)
    assert len(answer["choices"][0]["prompt_logprobs"]) == answer["usage"]["prompt_tokens"]
    assert target.post(COMPLETIONS, prompt_logprobs=1, stream=True).status_code == 400


def test_usage_of_a_stream_comes_as_it_is_asked_for(target: Target):
    chunks = target.chunks(COMPLETIONS, stream_options={"include_usage": True})
    assert not any(chunk.get("usage") for chunk in chunks[:-1])
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 6)
    for options in (None, {"include_usage": False}, {"include_usage": False, "continuous_usage_stats": True}):
        assert not any(chunk.get("usage") for chunk in target.chunks(COMPLETIONS, stream_options=options))
    every = {"include_usage": True, "continuous_usage_stats": True}
    assert all(chunk["usage"]["prompt_tokens"] for chunk in target.chunks(COMPLETIONS, stream_options=every))


@pytest.mark.parametrize("stream", [{}, {"stream": False}])
def test_options_of_a_stream_without_a_stream_are_refused(target: Target, stream):
    response = target.post(COMPLETIONS, stream_options={"include_usage": True}, **stream)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "stream_options")


def test_a_bias_makes_a_token_certain_and_another_impossible(target: Target):
    ids = {"return_token_ids": True, **FIXED, "max_tokens": 3}
    plain = target.answer(COMPLETIONS, **ids)["choices"][0]["token_ids"]
    certain = target.answer(COMPLETIONS, logit_bias={"100": 100}, **ids)["choices"][0]["token_ids"]
    without = target.answer(COMPLETIONS, logit_bias={str(plain[0]): -100}, **ids)["choices"][0]["token_ids"]
    assert certain == [100] * 3
    assert plain[0] not in without


def test_only_allowed_tokens_are_written(target: Target):
    ids = {"return_token_ids": True, "max_tokens": 8, "allowed_token_ids": [100, 200]}
    assert set(target.answer(COMPLETIONS, **ids)["choices"][0]["token_ids"]) <= {100, 200}


@pytest.mark.parametrize(
    "fields",
    [
        {"allowed_token_ids": [10**6]},
        {"logit_bias": {"1000000": 1}},
        {"stop_token_ids": [10**6]},
        {"prompt": [10**6]},
        {"prompt": [-1]},
        {"prompt": ""},
        {"prompt": []},
        {"prompt": None},
        {"min_tokens": 9},
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_k": -5},
        {"presence_penalty": 9},
        {"repetition_penalty": -1},
        {"bad_words": [""]},
        {"n": 0},
        {"n": -1},
        {"max_tokens": -1},
    ],
)  # fmt: skip
def test_what_cannot_be_sampled_is_refused_whether_it_streams_or_not(target: Target, fields):
    assert target.refusal(COMPLETIONS, **fields)["message"]


def test_text_and_tokens_as_one_stop(target: Target):
    answer = target.answer(COMPLETIONS, stop=["\n"], max_tokens=100, **FIXED)
    assert answer["choices"][0]["stop_reason"] == "\n"
    token = target.answer(COMPLETIONS, return_token_ids=True, **FIXED)["choices"][0]["token_ids"][1]
    stopped = target.answer(COMPLETIONS, stop_token_ids=[token], **FIXED)
    assert (stopped["choices"][0]["finish_reason"], stopped["choices"][0]["stop_reason"]) == ("stop", token)


def test_structures_are_kept_to(target: Target):
    body = {"structured_outputs": {"choice": ["alpha", "beta"]}, "max_tokens": 40, "ignore_eos": False}
    assert target.answer(COMPLETIONS, **body)["choices"][0]["text"] in {"alpha", "beta"}
    assert texts(target.chunks(COMPLETIONS, **body))[0] in {"alpha", "beta"}


def test_tokens_may_be_told_as_ids(target: Target):
    answer = target.answer(COMPLETIONS, logprobs=1, return_tokens_as_token_ids=True)
    tokens = answer["choices"][0]["logprobs"]["tokens"]
    assert all(token.startswith("token_id:") for token in tokens)


def test_a_prompt_is_cut_where_that_is_asked_for(target: Target):
    answer = target.answer(COMPLETIONS, prompt="a b c d " * 20, truncate_prompt_tokens=5)
    assert answer["usage"]["prompt_tokens"] == 5


def test_greedy_and_seeded_answers_repeat(target: Target):
    for fixed in (FIXED, {"seed": 3, "temperature": 1.5}):
        first, second = (
            target.answer(COMPLETIONS, max_tokens=12, **fixed)["choices"][0]["text"] for _ in range(2)
        )
        assert first == second
