"""All members in one engine: moved between them, or holding each as an adapter."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from alpharay.serve.sampling.python_tool import MOST_CALLS

pytestmark = pytest.mark.engine

EMBEDDED = Path(str(files("alpharay.serve") / "embedded"))
ENGINE = {
    "dtype": "float32",
    "max_model_len": 512,
    "extra": {
        "max_num_seqs": 32,
        "kv_cache_memory_bytes": 64 << 20,
        "enable_auto_tool_choice": True,
        "tool_call_parser": "hermes",
    },
}


WEIGHTS = {"start": 0.75, "low": -0.25, "high": 0.5}


def configured(folder: Path, start: str, **keys) -> str:
    """Three alphas, and a member of both ends and what they were trained from, which is named `start`."""
    wide = {"name": "wide", "weights": {start if n == "start" else n: w for n, w in WEIGHTS.items()}}
    path = folder / "frontier.yaml"
    members = [-0.5, 0, 1.5, wide]
    path.write_text(
        yaml.safe_dump({"name": "one", "engine": ENGINE, "members": members, **keys}, sort_keys=False)
    )
    return str(path)


NAMES = ("-0.5", "0", "1.5", "wide")


def content(response) -> str:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def hosted(request, start_server, tmp_path_factory) -> Iterator:
    """A server with that hosting; pytest runs all tests of one before it starts the other.

    For adapters: the endpoints that were trained as adapters of the same start.
    """
    folder, environment = tmp_path_factory.mktemp(request.param), {}
    if request.param == "shift":
        checkpoints = {name: str(EMBEDDED / name) for name in ("init", "low", "high")}
        config = configured(folder, "init", checkpoints=checkpoints, hosting="shift")
    else:
        adapters = {
            "base": str(EMBEDDED / "init"),
            "low": str(EMBEDDED / "lora_low"),
            "high": str(EMBEDDED / "lora_high"),
        }
        config = configured(folder, "base", adapters=adapters, hosting="adapters")
        # An engine alone has a thread for each core, and beside other work they wait for each other. Moving has them all.
        environment["OMP_NUM_THREADS"] = "1"
    running = start_server(folder, config, **environment)
    yield running
    assert running.stop() == 0


shifting = pytest.mark.parametrize("hosted", ["shift"], indirect=True)
adapted = pytest.mark.parametrize("hosted", ["adapters"], indirect=True)
either = pytest.mark.parametrize("hosted", ["shift", "adapters"], indirect=True)


def member_request(sampling, name: str, number: int) -> dict:
    """A request to one of three members in turn. name: of the frontier."""
    return sampling(model=f"{name}@{('-0.5', '0', '1.5')[number % 3]}", tests=False, seed=number)


@pytest.fixture(scope="module")
def stayed(server, sampling) -> list[str]:
    """The answers of engines that stay, by request number."""
    with ThreadPoolExecutor(12) as pool:
        bodies = [member_request(sampling, "frontier", number) for number in range(24)]
        return [content(reply) for reply in pool.map(server.post, bodies)]


@shifting
def test_an_engine_that_moves_answers_as_engines_that_stay_do(stayed, hosted, sampling):
    """Concurrent requests, to members in turn and to the whole frontier: every text is the same."""
    with ThreadPoolExecutor(12) as pool:
        budget = pool.submit(
            hosted.post, sampling(model="one", controls={"budget": 16, "stop_after_passes": 16})
        )
        bodies = [member_request(sampling, "one", number) for number in range(24)]
        moved = [content(reply) for reply in pool.map(hosted.post, bodies)]
        metadata = budget.result().json()["alpharay"]
    assert moved == stayed
    assert len(set(moved)) > 6
    assert {name: member["drawn"] for name, member in metadata["members"].items()} == {
        f"one@{name}": 4 for name in NAMES
    }


@shifting
def test_answers_of_a_moved_engine_carry_the_member_as_their_model(hosted, sampling):
    for name in ("1.5", "wide", "-0.5", "0"):
        body = hosted.post(sampling(model=f"one@{name}", tests=False)).json()
        assert body["model"] == body["choices"][0]["alpharay"]["member"] == f"one@{name}"


@either
def test_a_member_of_three_checkpoints_tells_its_weights_and_no_alpha(hosted, request, sampling):
    start = {"shift": "init", "adapters": "base"}[request.node.callspec.params["hosted"]]
    weights = {start if name == "start" else name: weight for name, weight in WEIGHTS.items()}
    note = hosted.post(sampling(model="one@wide", tests=False)).json()["choices"][0]["alpharay"]
    assert (note["alpha"], note["weights"]) == (None, weights)
    listed = {m["id"]: m["alpharay"] for m in hosted.client().models.list().model_dump()["data"]}
    assert listed["one"]["alphas"] == [-0.5, 0, 1.5, None]
    assert listed["one@wide"]["effective_weights"] == pytest.approx(weights, abs=1e-3)
    assert listed["one@wide"]["checkpoint"] == note["checkpoint"]
    assert hosted.metric("alpharay_checkpoint_info", member="one@wide") == 1
    drawn = hosted.post(sampling(model="one", controls={"budget": 4, "members": ["wide", 0]})).json()
    assert drawn["alpharay"]["members"].keys() <= {"one@wide", "one@0"}


@adapted
def test_every_adapter_answers_from_one_engine(hosted, sampling):
    assert len(hosted.processes("EngineCore")) == 1
    seeds = range(6)
    with ThreadPoolExecutor(6) as pool:
        bodies = [sampling(model=f"one@{alpha}", tests=False, seed=seed) for alpha in NAMES for seed in seeds]
        answers = [reply.json() for reply in pool.map(hosted.post, bodies)]
    assert [answer["model"] for answer in answers] == [body["model"] for body in bodies]
    texts = {answer["choices"][0]["message"]["content"] for answer in answers}
    assert len(texts) > len(seeds)  # as many at most, if all adapters said the same under the same seed
    models = {model["id"]: model["alpharay"] for model in hosted.client().models.list().model_dump()["data"]}
    assert [models[f"one@{alpha}"]["alpha"] for alpha in ("-0.5", "0", "1.5")] == [-0.5, 0, 1.5]
    assert len({models[f"one@{name}"]["checkpoint"] for name in NAMES}) == len(NAMES)


@shifting
def test_a_member_runs_programs_in_the_sandbox_while_it_answers(hosted):
    """The embedded model knows no tools: what it writes is forced; its parsing, running and going on are not."""
    call = '<tool_call>{"name": "python", "arguments": {"code": "print(6 * 7)"}}</tool_call>'
    body = {
        "model": "one@0",
        "messages": [{"role": "user", "content": "6 * 7?"}],
        "structured_outputs": {"choice": [call]},
        "alpharay": {"tools": ["python"], "budget": 3, "return": "all"},
    }
    response = hosted.post(body)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["alpharay"]["drawn"] == 3
    for choice in answer["choices"]:
        runs = choice["alpharay"]["python"]
        assert runs == [{"code": "print(6 * 7)", "output": "42\n"}] * MOST_CALLS
    assert answer["alpharay"]["usage"]["completion_tokens"] == answer["usage"]["completion_tokens"]


@either
def test_an_engine_that_died_comes_back_with_all_its_members(hosted, sampling, wait_until):
    before = [content(hosted.post(sampling(model=f"one@{alpha}", tests=False, seed=5))) for alpha in NAMES]
    (engine,) = hosted.processes("EngineCore")
    engine.send_signal(signal.SIGKILL)
    wait_until(lambda: hosted.metric("alpharay_replica_restarts_total", member="one@1.5") == 1, "its restart")
    wait_until(hosted.ready, "its members back")
    after = [content(hosted.post(sampling(model=f"one@{alpha}", tests=False, seed=5))) for alpha in NAMES]
    assert after == before
    wait_until(hosted.idle, "no place in the engine held")
