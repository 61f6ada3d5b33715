"""API keys: the file, who gets in, and how much they may ask."""

import asyncio
import json
import logging
import os
from collections import Counter

import pytest
import yaml

from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.serve.cli.main import main
from alpharay.serve.errors import ConfigError
from alpharay.serve.state import keys
from alpharay.serve.state.cluster_state import ClusterState
from alpharay.serve.state.limits import Used
from alpharay.serve.transport.asgi import Reply

from .clock import pass_time
from .fakes import COMPLETION_TOKENS, NAMES, PROMPT_TOKENS, TESTS, Call, question
from .test_dialects import REQUESTS

ALL_PATHS = ("/v1/chat/completions", *REQUESTS)


def write(path, *entries):
    path.write_text(yaml.safe_dump([entry.model_dump(exclude_none=True) for entry in entries]))


@pytest.fixture
def guarded(serve, tmp_path):
    """guarded(**limits) is (an ingress replica, the headers of the one key that it knows)."""

    async def start(cluster_state=None, **limits):
        key, entry = keys.make("alice", **limits)
        path = tmp_path / "keys.yaml"
        write(path, entry)
        serving = await serve(cluster_state=cluster_state, server={"api_keys_file": str(path)})
        serving.path = path
        return serving, {"Authorization": f"Bearer {key}"}

    return start


def body(path, **fields):
    return {"model": "frontier", **(REQUESTS[path] if path in REQUESTS else question()), **fields}


@pytest.mark.parametrize("path", ALL_PATHS)
async def test_without_a_known_key_every_dialect_refuses_in_its_own_words(guarded, path):
    serving, _ = await guarded()
    for headers in ({}, {"Authorization": "Bearer ar-guess"}, {"x-api-key": "ar-guess"}):
        response = await serving.http.post(path, json=body(path), headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["type"] == "authentication_error"
        assert ("type" in response.json()) == (path == "/v1/messages")
        assert "guess" not in response.text
    assert not serving.engines.calls
    assert serving.counted("alpharay_rejections_total", reason="unauthorized") == 3


async def test_what_a_key_has_cost_is_told_to_it_and_to_an_admin(serve, tmp_path):
    made = {name: keys.make(name, admin=name == "root") for name in ("alice", "bob", "root")}
    write(tmp_path / "keys.yaml", *(entry for _, entry in made.values()))
    serving = await serve(server={"api_keys_file": str(tmp_path / "keys.yaml")})
    headers = {name: {"Authorization": f"Bearer {key}"} for name, (key, _) in made.items()}
    judged = Verdict(VerdictKind.WRONG_ANSWER, 0, 2, cpu_s=0.5, total_cpu_s=0.75)

    async def judge(*_):
        return judged

    serving.judging.judge = judge
    await serving.answer(headers=headers["alice"], alpharay={"tests": TESTS, "budget": 4})
    await serving.answer(headers=headers["alice"], n=2)
    await serving.answer(headers=headers["bob"], model=NAMES[0], n=3)
    alice = {
        "object": "usage",
        "key": "alice",
        "samples": 6,
        "prompt_tokens": 6 * PROMPT_TOKENS,
        "completion_tokens": 6 * COMPLETION_TOKENS,
        "judge_cpu_s": 3.0,
    }

    async def usage(name):
        return (await serving.http.get("/v1/usage", headers=headers[name])).json()["data"]

    assert await usage("alice") == [alice]
    both = await usage("root")
    assert both[0] == alice
    assert (both[1]["key"], both[1]["samples"], both[1]["completion_tokens"]) == (
        "bob",
        3,
        3 * COMPLETION_TOKENS,
    )
    assert (await serving.http.get("/v1/usage")).status_code == 401
    assert serving.counted("alpharay_key_tokens_total", key="alice", kind="prompt") == 6 * PROMPT_TOKENS


async def usage_of(serving, headers):
    (usage,) = (await serving.http.get("/v1/usage", headers=headers)).json()["data"]
    return usage["samples"], usage["prompt_tokens"], usage["completion_tokens"], usage["judge_cpu_s"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_has_spent_what_was_drawn_and_judged_until_then(guarded, stream):
    """Of five members three have answered, and of their answers two are judged."""
    serving, headers = await guarded()
    serving.engines.seconds = dict.fromkeys(NAMES[3:], 1000.0)
    begun = Counter()

    async def judge(*_):
        begun["judged"] += 1
        if begun["judged"] > 2:
            await asyncio.sleep(1000)
        return Verdict(VerdictKind.WRONG_ANSWER, 0, 2, cpu_s=0.5, total_cpu_s=0.5)

    serving.judging.judge = judge
    call = Call(serving.app, question(stream=stream, **BUDGET), headers=headers)
    await pass_time(10)
    call.leave()
    await call.end()
    assert await usage_of(serving, headers) == (5, 3 * PROMPT_TOKENS, 3 * COMPLETION_TOKENS, 1.0)


async def test_at_a_deadline_that_comes_first_the_samples_are_spent_and_no_tokens(guarded):
    serving, headers = await guarded()
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    late = await serving.chat(headers=headers, alpharay={"budget": 5, "tests": TESTS, "deadline_s": 2})
    assert late.status_code == 503
    assert await usage_of(serving, headers) == (5, 0, 0, 0.0)


async def test_a_stream_that_is_left_has_spent_the_tokens_that_were_sent(guarded):
    serving, headers = await guarded()
    call = Call(serving.app, question(stream=True, model=NAMES[0]), headers=headers)
    await call.until(lambda call: call.text.count('"content"') >= 6)
    call.leave()
    await call.end()
    sent = call.text.count('"content"') - 1  # but for the event that opens the answer
    samples, prompt, tokens, _ = await usage_of(serving, headers)
    assert (samples, prompt) == (1, 0)
    assert 5 <= sent <= tokens < len("frontier@-0.5 None 0")


@pytest.mark.parametrize(
    "fields", [{"n": 2, "model": NAMES[0]}, {"alpharay": {"budget": 12, "tests": TESTS}}]
)
async def test_what_an_engine_refuses_or_loses_is_no_usage(guarded, fields):
    serving, headers = await guarded()
    serving.engines.faults = {name: [MALFORMED] * 20 for name in NAMES}
    assert (await serving.chat(headers=headers, **fields)).status_code == 400
    serving.engines.dead = set(NAMES)
    serving.engines.faults = {}
    assert (await serving.chat(headers=headers, **fields)).status_code == 503
    answer = await serving.http.get("/v1/usage", headers=headers)
    assert answer.json()["data"][0]["samples"] == 0


async def test_programs_that_a_key_has_judged_and_run_are_its_usage(guarded):
    serving, headers = await guarded()

    async def judged(*_):
        return Verdict(VerdictKind.WRONG_ANSWER, 0, 2, total_cpu_s=0.25)

    serving.judging.judge = serving.judging.capture = judged
    programs = [{"program": f"{n}"} for n in range(3)]
    body = {"tests": TESTS, "candidates": programs}
    assert (await serving.http.post("/v1/judge", json=body, headers=headers)).status_code == 200
    run = {"code": "print(1)", "language": "python"}
    assert (await serving.http.post("/run_code", json=run, headers=headers)).status_code == 200
    assert await usage_of(serving, headers) == (0, 0, 0, 1.0)


async def test_a_server_without_keys_counts_no_usage(serving):
    answer = await serving.http.get("/v1/usage")
    assert answer.status_code == 404
    assert "api_keys_file" in answer.json()["error"]["message"]


async def test_either_header_carries_the_key(guarded):
    serving, headers = await guarded()
    secret = headers["Authorization"].removeprefix("Bearer ")
    for way in (headers, {"x-api-key": secret}, {"authorization": f"bearer {secret}", "x-api-key": "other"}):
        assert (await serving.chat(headers=way)).status_code == 200


async def test_models_need_a_key_and_operations_do_not(guarded):
    serving, headers = await guarded()
    assert (await serving.http.get("/v1/models")).status_code == 401
    assert (await serving.http.get("/v1/models", headers=headers)).status_code == 200
    for path in ("/health", "/ready", "/metrics", "/openapi.json"):
        assert (await serving.http.get(path)).status_code == 200


@pytest.mark.parametrize("path", ALL_PATHS)
async def test_a_key_beyond_its_requests_a_minute_is_told_when_to_come_back(guarded, path):
    serving, headers = await guarded(requests_per_minute=2)
    statuses = [
        (await serving.http.post(path, json=body(path), headers=headers)).status_code for _ in range(2)
    ]
    refused = await serving.http.post(path, json=body(path), headers=headers)
    assert (statuses, refused.status_code) == ([200, 200], 429)
    assert refused.json()["error"]["type"] == "rate_limit_error"
    await pass_time(int(refused.headers["retry-after"]) + 1)
    assert (await serving.http.post(path, json=body(path), headers=headers)).status_code == 200


async def test_a_key_beyond_its_concurrency_is_refused_until_one_has_ended(guarded):
    serving, headers = await guarded(concurrent=1)
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    call = Call(serving.app, question(), headers=headers)
    await pass_time(1)
    assert (await serving.chat(headers=headers)).status_code == 429
    call.leave()
    await call.end()
    serving.engines.seconds = {}
    assert (await serving.chat(headers=headers)).status_code == 200


@pytest.mark.parametrize("model", ["frontier", NAMES[0]])
async def test_a_streamed_request_counts_as_under_way_until_its_last_event(guarded, model):
    serving, headers = await guarded(concurrent=1)
    for _ in range(3):
        response = await serving.chat(headers=headers, stream=True, model=model)
        assert response.status_code == 200


async def test_samples_of_a_day_are_reserved_and_what_was_not_drawn_is_given_back(guarded):
    serving, headers = await guarded(samples_per_day=20)
    own = (await serving.answer(headers, alpharay={"budget": 15}))["alpharay"]
    assert own["drawn"] == 15
    refused = await serving.chat(headers, alpharay={"budget": 10})
    assert refused.status_code == 429
    assert "5 are left" in refused.json()["error"]["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 86400
    serving.judging.verdict = lambda _: (
        __import__("alpharay.judge.verdict").judge.verdict.VerdictKind.ACCEPTED
    )
    early = await serving.answer(headers, alpharay={"budget": 5, "tests": TESTS, "members": [0]})
    left = 5 - early["alpharay"]["drawn"]
    assert early["alpharay"]["drawn"] < 5
    again = await serving.chat(headers, alpharay={"budget": left})
    assert again.status_code == 200


def used(serving):
    return serving.server.admission.limits.used()["alice"].samples


MALFORMED = Reply(400, "application/json", b'{"error": {"message": "no such token"}}')
DIRECT = {"n": 2, "model": NAMES[0]}
BUDGET = {"alpharay": {"budget": 12, "tests": TESTS}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fields", [DIRECT, BUDGET, {}])
async def test_a_request_that_the_engine_refuses_costs_no_samples(guarded, fields, stream):
    serving, headers = await guarded(samples_per_day=12)
    serving.engines.faults = {name: [MALFORMED] * 20 for name in NAMES}
    await serving.chat(headers=headers, stream=stream, **fields)
    assert used(serving) == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fields", [DIRECT, BUDGET, {}])
async def test_a_request_whose_engines_are_lost_costs_no_samples(guarded, fields, stream):
    serving, headers = await guarded(samples_per_day=12)
    serving.engines.dead = set(NAMES)
    await serving.chat(headers=headers, stream=stream, **fields)
    assert used(serving) == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "drawn"), [(DIRECT, 2), (BUDGET, 5)])
async def test_an_abandoned_request_costs_the_samples_that_were_started(guarded, fields, drawn, stream):
    serving, headers = await guarded(samples_per_day=12)
    serving.engines.seconds = dict.fromkeys(NAMES, 1000.0)
    call = Call(serving.app, question(stream=stream, **fields), headers=headers)
    await pass_time(10)
    call.leave()
    await call.end()
    assert used(serving) == drawn


async def test_a_fault_of_ours_costs_only_what_was_drawn(guarded, monkeypatch):
    serving, headers = await guarded(samples_per_day=12)
    monkeypatch.setattr("alpharay.serve.gateway.respond.count", None)
    assert (
        await serving.chat(headers=headers, alpharay={"budget": 12, "tests": TESTS, "stop_after_passes": 1})
    ).status_code == 500
    assert used(serving) == 12
    serving.server.ensemble.run = None
    assert (await serving.chat(headers=headers, n=2)).status_code == 429
    serving.server.admission.limits._accounts.clear()
    assert (await serving.chat(headers=headers, n=2)).status_code == 500
    assert used(serving) == 0


async def test_a_key_that_has_sent_tools_does_not_change_what_others_budgets_are(guarded):
    serving, headers = await guarded()
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    await serving.chat({**headers, "X-Alpharay-Budget": "3"}, tools=tools)
    serving.engines.calls.clear()
    await serving.chat({**headers, "X-Alpharay-Budget": "3"})
    assert len(serving.engines.calls) == 1
    other, entry = keys.make("bob")
    write(serving.path, entry)
    serving.server.admission.keys.look()
    await serving.chat({"x-api-key": other, "X-Alpharay-Budget": "3"})
    assert len(serving.engines.calls) == 4


async def test_a_budget_above_the_keys_cap_is_cut_and_the_answer_says_so(guarded):
    serving, headers = await guarded(max_budget=6)
    own = (await serving.answer(headers, alpharay={"budget": 50}))["alpharay"]
    assert (own["budget"], own["effective_budget"], own["drawn"]) == (50, 6, 6)
    assert "max_budget" in own["clamped"]
    free = (await serving.answer(headers, alpharay={"budget": 5}))["alpharay"]
    assert "clamped" not in free
    for model in ("frontier", NAMES[0]):
        assert (await serving.chat(headers, n=7, model=model)).status_code == 400


async def test_limits_hold_over_several_ingress_replicas(guarded):
    cluster_state = ClusterState(list(NAMES))
    first, headers = await guarded(cluster_state=cluster_state, requests_per_minute=2, samples_per_day=100)
    second, _ = await guarded(cluster_state=cluster_state, requests_per_minute=2, samples_per_day=100)
    write(second.path, *first.server.admission.keys._keys)
    await asyncio.sleep(0)
    second.server.admission.keys.look()
    assert (await first.chat(headers)).status_code == 200
    assert (await first.chat(headers)).status_code == 200
    await first.server.exchange()
    await second.server.exchange()
    assert (await second.chat(headers)).status_code == 429
    assert second.server.admission.limits.others["alice"].samples == 2


async def test_of_a_replica_that_is_gone_only_the_samples_count():
    cluster_state = ClusterState(["m"])
    report = __import__("alpharay.serve.state.cluster_state").serve.state.cluster_state.IngressReport
    used = {"alice": Used(day=3, samples=7, requests=4, concurrent=2)}
    await cluster_state.exchange("gone", report(keys=used))
    assert (await cluster_state.exchange("here", report())).keys == used
    await pass_time(30)
    assert (await cluster_state.exchange("here", report())).keys == {"alice": Used(day=3, samples=7)}


async def test_a_changed_file_counts_from_the_next_look_and_a_bad_one_never(guarded, caplog):
    serving, headers = await guarded()
    key, entry = keys.make("bob")
    write(serving.path, entry)
    serving.server.admission.keys.look()
    assert (await serving.chat(headers)).status_code == 401
    assert (await serving.chat({"x-api-key": key})).status_code == 200
    with caplog.at_level(logging.WARNING, "ray.serve"):
        serving.path.write_text("- name: eve\n  sha256: topsecret\n")
        serving.server.admission.keys.look()
        serving.path.unlink()
        serving.server.admission.keys.look()
    assert (await serving.chat({"x-api-key": key})).status_code == 200
    assert "stay as they were" in caplog.text
    assert "topsecret" not in caplog.text


async def test_each_key_has_a_prefix_cache_of_its_own(guarded):
    serving, headers = await guarded()
    other, entry = keys.make("bob")
    write(serving.path, entry, *serving.server.admission.keys._keys)
    serving.server.admission.keys.look()
    for way in (headers, {"x-api-key": other}):
        for path in ALL_PATHS:
            for model in ("frontier", NAMES[0]):
                response = await serving.http.post(path, json=body(path, model=model), headers=way)
                assert response.status_code == 200
    salts = [sent["cache_salt"] for _, sent, _ in serving.engines.calls]
    assert len(set(salts)) == 2
    assert set(salts[:8]) & set(salts[8:]) == set()
    assert not any(key.sha256 in salt for salt in salts for key in serving.server.admission.keys._keys)


async def test_no_secret_reaches_engines_logs_metrics_or_errors(guarded, caplog):
    serving, headers = await guarded(requests_per_minute=1)
    secret = headers["Authorization"].removeprefix("Bearer ")
    with caplog.at_level(logging.DEBUG):
        texts = [(await serving.chat(headers)).text, (await serving.chat(headers)).text]
        texts.append((await serving.http.get("/metrics")).text)
    texts += [caplog.text, json.dumps([call[1:] for call in serving.engines.calls])]
    assert not any(secret in text or keys._digest(secret) in text for text in texts)


async def test_a_control_header_given_twice_is_refused(serving):
    headers = [("X-Alpharay-Budget", "3"), ("x-alpharay-budget", "4")]
    response = await serving.http.post("/v1/chat/completions", json=question(), headers=headers)
    assert response.status_code == 400
    assert "twice" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "YAML"),
        ("a: 1", "list"),
        ("- name: a\n  sha256: short", "sha256"),
        ("- name: a b\n  sha256: " + "0" * 64, "name"),
        ("- {name: a, sha256: " + "'" + "0" * 64 + "', budget: 3}", "budget"),
        ("- {name: a, sha256: '" + "0" * 64 + "'}\n- {name: a, sha256: '" + "1" * 64 + "'}", "name"),
        ("- {name: a, sha256: '" + "0" * 64 + "'}\n- {name: b, sha256: '" + "0" * 64 + "'}", "sha256"),
    ],
)
def test_a_bad_file_is_refused_by_naming_what_is_wrong(tmp_path, text, word):
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word) as excinfo:
        keys.load(path)
    assert "short" not in str(excinfo.value)


def test_an_empty_file_lets_nobody_in_and_a_missing_one_is_an_error(tmp_path):
    path = tmp_path / "keys.yaml"
    path.touch()
    assert keys.load(path) == ()
    with pytest.raises(ConfigError, match="read"):
        keys.load(tmp_path / "none.yaml")


def test_the_command_makes_an_entry_that_the_server_takes(tmp_path, capsys):
    assert main(["keys", "alice", "--max-budget", "8"]) == 0
    captured = capsys.readouterr()
    path = tmp_path / "keys.yaml"
    path.write_text(captured.out)
    os.utime(path)
    ring = keys.KeyRing(path)
    key = ring.find([("x-api-key", captured.err.strip())])
    assert (key.name, key.max_budget, key.concurrent) == ("alice", 8, None)
    assert captured.err.strip() not in captured.out
    assert main(["keys", "a b"]) == 2
