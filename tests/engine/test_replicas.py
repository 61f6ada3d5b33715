"""One replica a member, as in production: a replica that dies, and the drain at the end."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from importlib.resources import files

import httpx
import pytest

from alpharay.serve.cli.main import main
from alpharay.serve.state import keys

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def replicas(start_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Two members, each in a replica of its own: one on the line, one of three checkpoints."""
    folder = tmp_path_factory.mktemp("replicas")
    embedded = files("alpharay.serve") / "embedded"
    config = folder / "two.yaml"
    config.write_text(
        f"name: two\ncheckpoints: {{init: '{embedded}/init', low: '{embedded}/low', high: '{embedded}/high'}}\n"
        "members: [0, {name: wide, weights: {init: 0.75, low: -0.25, high: 0.5}}]\n"
        "engine: {dtype: float32, max_model_len: 512, hang_s: 4, extra: {max_num_seqs: 32, kv_cache_memory_bytes: 67108864}}\n"
        f"server: {{drain_s: 20, replicas: 2, api_keys_file: '{folder}/keys.yaml'}}\n"
    )
    key, entry = keys.make("trainer", admin=True)
    (folder / "keys.yaml").write_text(json.dumps([entry.model_dump(exclude_none=True)]))
    running = start_server(folder, str(config))
    running.key = key
    yield running
    if running.process.poll() is None:
        running.stop()


def test_a_dead_replica_is_restarted_and_the_others_answer_meanwhile(replicas, sampling, wait_until):
    # Long enough to be met half-way: each sample goes on to its last token.
    body = sampling(
        model="two", controls={"budget": 24, "stop_after_passes": 24}, max_tokens=400, ignore_eos=True
    )
    results: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: results.append(replicas.post(body)))
    thread.start()
    wait_until(lambda: replicas.metric("alpharay_engine_requests") > 0, "samples in the engines")
    replicas.processes("ServeReplica:alpharay:member-wide")[0].send_signal(signal.SIGKILL)
    # While it is away, new requests of either parity of the rotation are answered by the other member,
    # and a request pinned to it gets 503 with Retry-After.
    later = [replicas.post(sampling(model="two", tests=False)) for _ in range(2)]
    assert [(answer.status_code, answer.json()["choices"][0]["alpharay"]["member"]) for answer in later] == [
        (200, "two@0")
    ] * 2
    pinned = replicas.post(sampling(model="two@wide", tests=False))
    assert (pinned.status_code, pinned.headers["retry-after"].isdigit()) == (503, True)
    thread.join()
    assert results[0].status_code == 200
    metadata = results[0].json()["alpharay"]
    assert metadata["drawn"] == 24
    assert metadata["members"]["two@0"]["drawn"] > 12
    wait_until(
        lambda: replicas.metric("alpharay_replica_restarts_total", member="two@wide") == 1, "its restart"
    )
    wait_until(replicas.ready, "the member back")
    assert replicas.post(sampling(model="two@wide", tests=False)).status_code == 200


def test_of_two_processes_that_answer_http_one_may_die_under_load(replicas, sampling, wait_until):
    """Its own requests fail; all others are answered, and either process reports the counts of both."""
    ingresses = replicas.processes("ServeReplica:alpharay:ingress")
    assert len(ingresses) == 2
    before = replicas.metric("alpharay_requests_total")
    killed, answers = threading.Event(), []

    def ask() -> None:
        while len(answers) < 40:
            try:
                answers.append(replicas.post(sampling(model="two", tests=False, max_tokens=8)).status_code)
            except httpx.TransportError:
                answers.append(0)
            if len(answers) > 10:
                killed.set()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    killed.wait()
    ingresses[0].send_signal(signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert set(answers) <= {200, 0}
    assert answers.count(0) <= len(threads)
    wait_until(lambda: len(replicas.processes("ServeReplica:alpharay:ingress")) == 2, "the second one back")
    wait_until(replicas.ready, "all of it ready")
    # Of the one that died all is known but for its last second.
    wait_until(
        lambda: replicas.metric("alpharay_requests_total") - before >= answers.count(200) / 2,
        "the counts of both",
    )


def test_an_engine_that_hangs_is_ended_and_replaced_and_its_request_is_answered(
    replicas, sampling, wait_until
):
    restarts = replicas.metric("alpharay_replica_restarts_total", member="two@0")
    body = sampling(model="two", controls={"budget": 24, "stop_after_passes": 24})
    results: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: results.append(replicas.post(body)))
    replica = replicas.processes("ServeReplica:alpharay:member-0")[0]
    hung = next(
        process for process in replica.children(recursive=True) if "EngineCore" in " ".join(process.cmdline())
    )
    hung.send_signal(signal.SIGSTOP)
    thread.start()
    thread.join()
    assert results[0].status_code == 200
    assert results[0].json()["alpharay"]["drawn"] == 24
    wait_until(
        lambda: replicas.metric("alpharay_replica_restarts_total", member="two@0") == restarts + 1,
        "its restart",
    )
    wait_until(replicas.ready, "the member back")
    assert replicas.post(sampling(model="two@0", tests=False)).status_code == 200


def test_a_member_moves_to_other_weights_under_load_and_no_answer_fails_or_names_the_wrong_one(
    replicas, sampling, wait_until
):
    def served() -> dict[str, str]:
        models = httpx.get(f"{replicas.url}/models", headers=replicas.headers, timeout=30).json()["data"]
        return {m["id"]: m["alpharay"]["checkpoint"] for m in models if m["alpharay"]["kind"] == "member"}

    def drawn(member: str, seed: int) -> httpx.Response:
        return replicas.post(sampling(model=member, tests=False, seed=seed))

    def text(answer: httpx.Response) -> str:
        return answer.json()["choices"][0]["message"]["content"]

    names, seeds = ("two@0", "two@wide"), range(1, 4)
    before = served()
    restarts = replicas.metric("alpharay_replica_restarts_total")
    texts = {(before[name], seed): text(drawn(name, seed)) for name in names for seed in seeds}
    (unchanged,) = replicas.processes("ServeReplica:alpharay:member-0")
    stop, answers = threading.Event(), []

    def keep_asking(member: str) -> None:
        while not stop.is_set():
            for seed in seeds:
                answer = drawn(member, seed)
                answers.append((seed, answer))
            answers.append((None, replicas.post(sampling(model="two", controls={"budget": 6}))))

    askers = [threading.Thread(target=keep_asking, args=(name,)) for name in names]
    for asker in askers:
        asker.start()
    try:
        config = replicas.log.parent / "two.yaml"
        config.write_text(config.read_text().replace("init: 0.75, low: -0.25", "init: 0.25, low: 0.25"))
        replicas.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the new configuration is served" in replicas.log.read_text(), "the change", 300)
        wait_until(lambda: served() != before, "the new checkpoint among the models")
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    after = served()
    assert [after[name] == before[name] for name in names] == [True, False]
    assert replicas.processes("ServeReplica:alpharay:member-0") == [unchanged]
    wait_until(lambda: len(replicas.processes("EngineCore")) == 2, "the end of the old engine")
    assert replicas.ready()
    assert replicas.metric("alpharay_replica_restarts_total") == restarts
    texts |= {(after[name], seed): text(drawn(name, seed)) for name in names for seed in seeds}
    assert [answer.text for _, answer in answers if answer.status_code != 200] == []
    seen = set()
    for seed, answer in answers:
        note = answer.json()["choices"][0]["alpharay"]
        seen.add(note["checkpoint"])
        assert note["checkpoint"] in (before[note["member"]], after[note["member"]])
        if seed is not None:
            assert text(answer) == texts[note["checkpoint"], seed]
    assert seen >= {before["two@0"], before["two@wide"]}


def test_a_configuration_that_cannot_be_used_changes_nothing_and_is_said_so(replicas, sampling, wait_until):
    config = replicas.log.parent / "two.yaml"
    good = config.read_text()
    for bad, message in (
        (good.replace("members: [0,", "members: [2,"), "the names of `members` cannot change"),
        (good.replace("low: 0.25", "low: 0.15"), "sum to 0.9, and must sum to 1"),
        (good.replace("name:", "nam:"), "unknown key 'nam'"),
        (good.replace("/low", "/nowhere"), "nowhere"),
    ):
        config.write_text(bad)
        replicas.process.send_signal(signal.SIGHUP)

        def logged(message: str = message) -> bool:
            return any("reread" in line and message in line for line in replicas.log.read_text().splitlines())

        wait_until(logged, message)
    config.write_text(good)
    assert replicas.post(sampling(model="two", tests=False)).status_code == 200


def test_a_trainer_pushes_weights_and_what_does_not_fit_leaves_those_before(replicas, sampling, tmp_path):
    embedded = files("alpharay.serve") / "embedded"
    assert (
        main(["merge", f"{embedded}/low", f"{embedded}/high", "--alpha", "0.5", "--out", f"{tmp_path}"]) == 0
    )
    trained = tmp_path / "alpha=0.5"

    def push(folder) -> httpx.Response:
        body = {"high": str(folder)}
        return httpx.post(f"{replicas.url}/checkpoints", json=body, headers=replicas.headers, timeout=300)

    def drawn(member: str) -> tuple[str, str]:
        answer = replicas.post(sampling(model=member, tests=False, seed=1)).json()["choices"][0]
        return answer["alpharay"]["checkpoint"], answer["message"]["content"]

    before = {name: drawn(name) for name in ("two@0", "two@wide")}
    wrong = push(embedded / "parts" / "high")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "checkpoints_refused"), wrong.text
    assert {name: drawn(name) for name in before} == before
    pushed = push(trained)
    assert pushed.status_code == 202, pushed.text
    with httpx.stream(
        "GET",
        f"{replicas.url}/checkpoints",
        params={"change": pushed.json()["id"]},
        headers={**replicas.headers, "Accept": "text/event-stream"},
        timeout=300,
    ) as events:
        updates = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
    assert (updates[-1]["state"], updates[-1]["error"]) == ("done", None)
    assert updates[-1]["progress"]["moved"] == updates[-1]["progress"]["hosts"] > 0
    after = {name: drawn(name) for name in before}
    assert after["two@0"] == before["two@0"]
    assert after["two@wide"][0] != before["two@wide"][0]
    assert after["two@wide"][1] != before["two@wide"][1]
    served = httpx.get(f"{replicas.url}/checkpoints", headers=replicas.headers, timeout=30).json()
    assert served["checkpoints"]["high"] == str(trained)
    assert served["members"] == {name: checkpoint for name, (checkpoint, _) in after.items()}
    assert [change["state"] for change in served["changes"]][-2:] == ["refused", "done"]


def test_sigterm_answers_what_is_under_way_refuses_the_rest_and_leaves_nothing(
    replicas, sampling, wait_until
):
    body = sampling(model="two", controls={"budget": 64, "stop_after_passes": 64})
    results: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: results.append(replicas.post(body)))
    thread.start()
    wait_until(lambda: replicas.metric("alpharay_engine_requests") > 0, "samples in the engines")
    stopped: list[int] = []
    stopper = threading.Thread(target=lambda: stopped.append(replicas.stop()))
    stopper.start()

    def refused() -> bool:
        try:
            late = replicas.post(sampling(model="two", tests=False))
        except httpx.HTTPError:
            return True
        return late.status_code == 503 and "retry-after" in late.headers

    wait_until(refused, "new requests refused")
    thread.join()
    stopper.join()
    assert results[0].status_code == 200
    assert results[0].json()["alpharay"]["drawn"] > 0
    assert stopped == [0]
