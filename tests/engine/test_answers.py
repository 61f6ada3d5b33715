"""One request answered end to end, through the official client and over plain HTTP."""

from __future__ import annotations

import json

import httpx
import openai
import pytest

pytestmark = pytest.mark.engine

MEMBERS = {f"frontier@{alpha}": float(alpha) for alpha in ("-0.5", "0", "0.5", "1", "1.5")}


def extra(body: dict) -> dict:
    """The keyword arguments by which the official client sends such a body."""
    own = body.pop("alpharay")
    return {**body, "extra_body": {"alpharay": own}}


def test_two_accepted_choices_come_back_from_named_alphas(server, sampling):
    body = sampling(12, n=2, controls={"budget": 16, "members": ["-0.5", 0, 0.5, 1, "frontier@1.5"]})
    answer = server.client().chat.completions.create(**extra(body))
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        note = choice.model_extra["alpharay"]
        assert note["verdict"] == "accepted"
        assert note["passed"] == note["total"] == 9
        assert MEMBERS[note["member"]] == note["alpha"]
        assert "print(" in choice.message.content
    assert answer.usage.completion_tokens > 0


def test_counts_add_up_to_the_budget(server, sampling):
    answer = server.post(sampling(controls={"budget": 16, "stop_after_passes": 16, "return": "all"})).json()
    metadata = answer["alpharay"]
    assert metadata["budget"] == metadata["effective_budget"] == metadata["drawn"] == 16
    assert sum(member["drawn"] for member in metadata["members"].values()) == 16
    assert sum(sum(member["verdicts"].values()) for member in metadata["members"].values()) == 16
    assert set(metadata["members"]) == set(MEMBERS)
    assert sorted(member["drawn"] for member in metadata["members"].values()) == [3, 3, 3, 3, 4]
    assert metadata["stopped"] == "budget"
    assert metadata["judge"] == "ok"
    assert len(answer["choices"]) == 16
    scores = [choice["alpharay"]["score"] for choice in answer["choices"]]
    assert scores == sorted(scores, reverse=True)
    seeds = [choice["alpharay"]["seed"] for choice in answer["choices"]]
    assert len(set(seeds)) == 16
    spent = sum(member["drawn"] for member in metadata["members"].values())
    assert metadata["usage"]["prompt_tokens"] == spent * answer["usage"]["prompt_tokens"]


def test_the_first_pass_stops_the_drawing(server, sampling):
    metadata = server.post(sampling(controls={"budget": 256})).json()["alpharay"]
    assert metadata["stopped"] == "passes"
    assert metadata["drawn"] < 256
    assert sum(member["verdicts"].get("accepted", 0) for member in metadata["members"].values()) >= 1


def test_a_streamed_budget_ends_with_the_winner_and_its_spend(server, sampling):
    stream = server.client().chat.completions.create(
        stream=True, stream_options={"include_usage": True}, **extra(sampling(12, controls={"budget": 16}))
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    ends = [chunk.choices[0] for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert ends[0].model_extra["alpharay"]["verdict"] == "accepted"
    assert "print(" in text
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-1].model_extra["alpharay"]["stopped"] == "passes"


def test_a_pinned_member_streams_as_it_writes(server, sampling):
    body = sampling(tests=False, model="frontier@1.5", stream=True)
    stream = server.client().chat.completions.create(**extra(body))
    chunks = list(stream)
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) > 1
    assert chunks[-1].choices[0].model_extra["alpharay"]["alpha"] == 1.5
    assert chunks[-1].model_extra["alpharay"]["drawn"] == 1
    assert chunks[-1].model_extra["alpharay"]["usage"]["completion_tokens"] > 5


def test_a_pinned_member_answers_whole_and_may_be_given_a_budget(server, sampling):
    plain = server.client().chat.completions.create(**extra(sampling(tests=False, model="frontier@1.5")))
    assert plain.model == "frontier@1.5"
    assert plain.choices[0].model_extra["alpharay"]["verdict"] is None
    metadata = server.post(
        sampling(model="frontier@1.5", controls={"budget": 6, "stop_after_passes": 6})
    ).json()["alpharay"]
    assert {name: member["drawn"] for name, member in metadata["members"].items()} == {"frontier@1.5": 6}


def test_the_same_seed_gives_the_same_candidates(server, sampling):
    body = sampling(5, seed=7, controls={"budget": 20, "stop_after_passes": 3, "return": "all"})
    first, second = (server.post(body).json() for _ in range(2))

    def drawn(answer: dict) -> list:
        return [
            (c["message"]["content"], c["alpharay"]["member"], c["alpharay"]["seed"])
            for c in answer["choices"]
        ]

    assert drawn(first) == drawn(second)
    assert first["alpharay"]["members"] == second["alpharay"]["members"]
    assert drawn(first) != drawn(server.post({**body, "seed": 8}).json())


def test_greedy_sampling_draws_one_sample_a_member(server, sampling):
    metadata = server.post(sampling(temperature=0, controls={"budget": 64, "stop_after_passes": 64})).json()[
        "alpharay"
    ]
    assert (metadata["budget"], metadata["effective_budget"], metadata["drawn"]) == (64, 5, 5)


def test_without_tests_a_request_draws_what_it_returns(server, sampling):
    answer = server.post(sampling(tests=False, n=3)).json()
    assert len(answer["choices"]) == 3
    assert answer["alpharay"]["drawn"] == 3
    assert answer["alpharay"]["judge"] == "not_asked"


def test_a_problem_that_no_candidate_solves_is_answered_with_its_verdicts(server, sampling):
    body = sampling(
        controls={
            "tests": {"kind": "stdio", "cases": [{"input": "1", "output": "never printed"}]},
            "budget": 5,
        }
    )
    answer = server.post(body).json()
    assert answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["alpharay"]["verdict"] not in {"accepted", None}
    assert answer["alpharay"]["stopped"] == "budget"


def test_models_lists_the_ensemble_and_its_members(server):
    models = {model.id: model.model_extra["alpharay"] for model in server.client().models.list()}
    assert set(models) == {"frontier", *MEMBERS}
    assert models["frontier"]["kind"] == "ensemble"
    assert {name: models[name]["alpha"] for name in MEMBERS} == MEMBERS
    assert len({models[name]["checkpoint"] for name in MEMBERS}) == 5


def test_headers_control_a_request_too(server, sampling):
    headers = {"X-Alpharay-Budget": "3", "X-Alpharay-Members": "0.5,1"}
    metadata = server.post(sampling(tests=False), headers=headers).json()["alpharay"]
    assert metadata["drawn"] == 3
    assert set(metadata["members"]) == {"frontier@0.5", "frontier@1"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_longer_than_the_model_is_refused_with_its_own_status(server, sampling, stream):
    long = sampling(stream=stream) | {"messages": [{"role": "user", "content": "sum " * 600}]}
    answer = server.post(long)
    assert answer.status_code == 400
    assert "512" in answer.json()["error"]["message"]
    assert server.post({**long, "model": "frontier@1.5", "alpharay": {}}).status_code == 400


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"model": "frontier@7"}, 404, "frontier@7"),
        ({"model": "gpt-4"}, 404, "frontier"),
        ({"alpharay": {"budgte": 3}}, 400, "budget"),
        ({"alpharay": {"budget": 10**9}}, 400, "512"),
        ({"alpharay": {"budget": "many"}}, 400, "budget"),
        ({"n": 100_000}, 400, "n="),
        ({"n": 4, "best_of": 2}, 400, "best_of"),
        ({"messages": "hello"}, 400, "messages"),
        ({"alpharay": {"tests": {"kind": "stdoi"}}}, 400, "stdio"),
        ({"alpharay": {"policy": "bandits"}}, 400, "bandit"),
    ],
)
def test_bad_input_gets_one_clear_error(server, sampling, change, status, word):
    answer = server.post(sampling(tests=False) | change)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert word in answer.json()["error"]["message"]


def test_malformed_json_and_oversized_bodies_are_refused(server, sampling):
    assert server.post(b'{"model": ').status_code == 400
    assert server.post(b"[1, 2]").status_code == 400
    body = sampling()
    body["alpharay"]["tests"]["cases"][0]["input"] = "1 " * 20_000_000
    answer = server.post(body)
    assert answer.status_code == 413
    assert "MB" in answer.json()["error"]["message"]


def test_the_client_library_raises_its_own_errors(server, sampling):
    with pytest.raises(openai.NotFoundError):
        server.client().chat.completions.create(**extra(sampling(model="frontier@9")))
    with pytest.raises(openai.BadRequestError, match="budget"):
        server.client().chat.completions.create(**extra(sampling(controls={"budget": -1})))


def test_the_operational_routes_answer(server):
    assert httpx.get(f"{server.root}/health").status_code == 200
    assert httpx.get(f"{server.root}/ready").status_code == 200
    schema = httpx.get(f"{server.root}/openapi.json").json()
    assert "/v1/chat/completions" in schema["paths"]
    assert httpx.get(f"{server.root}/nowhere").json()["error"]["message"]


def test_a_client_that_leaves_frees_everything(server, sampling, wait_until):
    before = server.metric("alpharay_requests_total", outcome="client_gone")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/chat/completions",
            json=sampling(controls={"budget": 256, "stop_after_passes": 256}),
            timeout=httpx.Timeout(30, read=0.7),
        )
    wait_until(
        lambda: server.metric("alpharay_requests_total", outcome="client_gone") > before, "its departure"
    )
    wait_until(server.idle, "engines without requests")


def test_a_stream_that_is_left_frees_everything(server, sampling, wait_until):
    before = server.metric("alpharay_requests_total", outcome="client_gone")
    body = sampling(model="frontier@0", tests=False, stream=True, max_tokens=400, ignore_eos=True)
    with httpx.stream("POST", f"{server.url}/chat/completions", json=body, timeout=30) as stream:
        next(stream.iter_bytes())
    wait_until(
        lambda: server.metric("alpharay_requests_total", outcome="client_gone") > before, "its departure"
    )
    wait_until(server.idle, "engines without requests")


def test_the_judges_door_stands_in_the_server(server):
    """Programs are judged by the server's own judges, one and many at once, and run in SandboxFusion's form."""
    tests = {"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}]}
    right, wrong = "print(sum(map(int, input().split())))", "print(6)"
    verdict = httpx.post(f"{server.url}/judge", json={"tests": tests, "program": right}, timeout=60).json()
    assert (verdict["verdict"], verdict["passed"], verdict["total"]) == ("accepted", 1, 1)
    many = httpx.post(
        f"{server.url}/judge",
        json={"tests": tests, "candidates": [{"program": program} for program in (right, wrong, "print(")]},
        timeout=60,
    )
    verdicts = {line["index"]: line["verdict"] for line in map(json.loads, many.text.splitlines())}
    assert verdicts == {0: "accepted", 1: "wrong_answer", 2: "compile_error"}
    ran = httpx.post(
        f"{server.root}/run_code",
        json={"code": "print(input())", "stdin": "hello", "language": "python"},
        timeout=60,
    ).json()
    assert (ran["status"], ran["run_result"]["stdout"]) == ("Success", "hello\n")
