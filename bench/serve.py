"""What alpharay adds to a bare vLLM server: all servers are up at once and asked in turn, in one run.

    python bench/serve.py [--litellm PROGRAM] [--optillm PROGRAM] [--before PYTHON] [--out bench/results/serve.md]

Servers: vLLM's own on the checkpoint of `high`, LiteLLM's proxy and optillm in front of it, alpharay's default
server, and with `--before` another version of alpharay, by the Python that it is installed in. Loads: streams of 64
tokens (`ignore_eos`); 8 samples a request (vLLM's `n`, optillm's best of n, alpharay's budget); and judged requests of
250 samples over all members, alone and beside small ones. Loads alternate over the servers, `--rounds` times; tables
have medians. CPU time is that of a server's own processes, from /proc. The client shares the cores with all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import psutil

_EMBEDDED = Path(str(files("alpharay.serve") / "embedded"))
_TOKENS, _DRAWS, _BIG, _CASES, _SMALL_TOKENS = 64, 8, 250, 30, 16
_SMALL_CLIENTS, _PAUSE_S, _QUIET_S = 4, 0.1, 10
_ENGINE = {"max_model_len": 512, "max_num_seqs": 64, "kv_cache_memory_bytes": 67108864}
_VLLM = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # no worker process beside the engine's, as ours have none
}
# Who did the work, by what a process calls itself; the first that matches.
_ROLES = {
    "ingress": "ingress", "judge": "judge", "EngineCore": "engine", "member": "host", "gcs_server": "ray",
    "raylet": "ray", "Serve": "ray", "ray": "ray",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    url: str
    process: psutil.Process

    def cpu_seconds(self) -> Counter[str]:
        """CPU seconds of its processes so far, by role."""
        spent: Counter[str] = Counter()
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                title, times = " ".join(process.cmdline()) or process.name(), process.cpu_times()
            except psutil.Error:
                continue  # ended meanwhile; its parent's times hold it
            role = next((role for word, role in _ROLES.items() if word in title), "other")
            spent[role] += times.user + times.system + times.children_user + times.children_system
        return spent


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a server. body: what its requests say beside the prompt. drawn: samples a request."""

    name: str
    server: Server
    body: dict[str, Any]
    drawn: int = 1
    requests: int = 3  # of each client in a round

    @property
    def streamed(self) -> bool:
        return self.drawn == 1


@dataclass(slots=True)
class Heard:
    """Of one round. first, whole: seconds until a request's first text and its end. cpu_s: by role."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    failed: int = 0
    wall_s: float = 0.0
    cpu_s: Counter[str] = field(default_factory=Counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", default="1,16,64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--loads", default="streams,samples,big", help="those to measure, of streams,samples,big"
    )
    parser.add_argument(
        "--litellm", type=Path, help="LiteLLM's program, from an environment with litellm[proxy]"
    )
    parser.add_argument("--optillm", type=Path, help="optillm's program")
    parser.add_argument(
        "--before", type=Path, help="python of an environment with another version of alpharay"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    clients = [int(number) for number in arguments.clients.split(",")]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that the servers are ended too
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bare = stack.enter_context(_vllm(scratch))
        lite = stack.enter_context(_litellm(arguments.litellm, bare, scratch)) if arguments.litellm else None
        opti = stack.enter_context(_optillm(arguments.optillm, bare, scratch)) if arguments.optillm else None
        ours = [stack.enter_context(_alpharay("alpharay", Path(sys.executable), scratch))]
        if arguments.before:
            ours.append(stack.enter_context(_alpharay("alpharay before", arguments.before, scratch)))
        load = [os.getloadavg()[0]]
        idle = [_at_rest(server) for server in ours]
        streams = list(_streams(bare, ours, lite)) if "streams" in arguments.loads else []
        samples = list(_samples(bare, ours, opti)) if "samples" in arguments.loads else []
        rows = _in_turn(streams + samples, clients, arguments.rounds)
        load.append(os.getloadavg()[0])
        big = [
            asyncio.run(_big_requests(server, arguments.rounds))
            for server in ours
            if "big" in arguments.loads
        ]
        load.append(os.getloadavg()[0])
    report = _report(rows, big, idle, load, arguments.rounds)
    print(report)
    if arguments.out:
        arguments.out.write_text(report)


def _at_rest(server: Server) -> str:
    """The share of a core that a server takes while nobody asks."""
    before = server.cpu_seconds()
    time.sleep(_QUIET_S)
    spent = server.cpu_seconds() - before
    return f"{server.name}: {spent.total() / _QUIET_S:.0%} of a core, its engines {spent['engine'] / _QUIET_S:.0%}"


def _streams(bare: Server, ours: Sequence[Server], lite: Server | None) -> Iterator[Load]:
    pinned = {"model": "frontier@1", "ignore_eos": True}
    for server in (bare, lite, *ours):
        if server:
            yield Load(f"{server.name}, stream", server, pinned)
    yield Load("alpharay, ensemble's stream", ours[0], {"model": "frontier", "ignore_eos": True})


def _samples(bare: Server, ours: Sequence[Server], opti: Server | None) -> Iterator[Load]:
    bare_n = {"model": "frontier@1", "ignore_eos": True, "n": _DRAWS}
    yield Load(f"{bare.name}, n = {_DRAWS}", bare, bare_n, _DRAWS, 1)
    if opti:
        best = {"model": "bon-frontier@1", "best_of_n": _DRAWS, "ignore_eos": True}
        yield Load(f"{opti.name}, best of {_DRAWS}", opti, best, _DRAWS, 1)
    for server in ours:
        controls = {"budget": _DRAWS, "members": [1], "time_limit_s": 1, "stop_after_passes": _DRAWS}
        body = {"model": "frontier", "alpharay": controls, "ignore_eos": True}
        yield Load(f"{server.name}, best of {_DRAWS}", server, body, _DRAWS, 1)


def _in_turn(loads: Sequence[Load], clients: Sequence[int], rounds: int) -> list[str]:
    """Rows of the table, by load and number of clients."""
    prompts = [json.loads(line)["prompt"] for line in (_EMBEDDED / "problems.jsonl").read_text().splitlines()]
    for load in loads:
        asyncio.run(_round(load, prompts, 2, 1))  # warm
    heard: dict[tuple[str, int], list[Heard]] = defaultdict(list)
    for number in range(rounds):
        for many in clients:
            for load in loads if number % 2 == 0 else reversed(loads):
                before, began = load.server.cpu_seconds(), time.monotonic()
                one_round = asyncio.run(_round(load, prompts, many, load.requests))
                one_round.wall_s = time.monotonic() - began
                one_round.cpu_s = load.server.cpu_seconds() - before
                heard[load.name, many].append(one_round)
                print(f"{number + 1}/{rounds}", _row(load, many, [one_round]), file=sys.stderr, flush=True)
    return [_row(load, many, heard[load.name, many]) for load in loads for many in clients]


def _row(load: Load, clients: int, rounds: Sequence[Heard]) -> str:
    def middle(of: list[float]) -> float:
        return statistics.median(of) if of else float("nan")

    rates = [len(heard.whole) / heard.wall_s for heard in rounds]
    first = [second for heard in rounds for second in heard.first]
    whole = [second for heard in rounds for second in heard.whole]
    samples = sum(len(heard.whole) for heard in rounds) * load.drawn or 1
    spent = sum((heard.cpu_s for heard in rounds), Counter())
    serving = spent["host"] + spent["ingress"] or spent["other"]
    rest = spent.total() - spent["engine"] - serving
    cpu = " | ".join(f"{seconds / samples * 1000:.1f}" for seconds in (spent["engine"], serving, rest))
    spread = f" ({min(rates):.2f}-{max(rates):.2f})" if len(rates) > 1 else ""
    return (
        f"| {load.name} | {clients} | {middle(rates):.2f}{spread} | {middle(rates) * load.drawn * _TOKENS:.0f} | "
        f"{_ms(first, 50)} | {_ms(first, 99)} | {_ms(whole, 50)} | {_ms(whole, 99)} | "
        f"{cpu} | {sum(heard.failed for heard in rounds)} |"
    )


async def _round(load: Load, prompts: Sequence[str], clients: int, each: int) -> Heard:
    heard = Heard()

    async def client(http: httpx.AsyncClient, number: int) -> None:
        for turn in range(each):
            prompt = prompts[(number * each + turn) % len(prompts)]
            started = time.monotonic()
            try:
                answered = await _ask(http, load, prompt, heard.first, started)
            except httpx.HTTPError:
                answered = False
            if answered:
                heard.whole.append(time.monotonic() - started)
            else:
                heard.failed += 1

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=120, limits=limits, trust_env=False) as http:
        await asyncio.gather(*(client(http, number) for number in range(clients)))
    return heard


async def _ask(http: httpx.AsyncClient, load: Load, prompt: str, first: list[float], started: float) -> bool:
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": _TOKENS,
            "stream": load.streamed, **load.body}  # fmt: skip
    text_came = not load.streamed
    async with http.stream("POST", f"{load.server.url}/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if not text_came and '"content":"' in line and '"content":""' not in line:
                text_came = True
                first.append(time.monotonic() - started)
    return answer.status_code == 200 and text_came


async def _big_requests(server: Server, rounds: int) -> str:
    """Judged requests of 250 samples, alone and beside small ones: a row of the table."""
    problem = json.loads((_EMBEDDED / "problems.jsonl").read_text().splitlines()[3])
    cases = problem["tests"]["cases"]
    tests = {**problem["tests"], "cases": [cases[number % len(cases)] for number in range(_CASES)]}
    controls = {"budget": _BIG, "stop_after_passes": _BIG, "policy": "uniform", "tests": tests, "time_limit_s": 1,
                "deadline_s": 240}  # fmt: skip
    message = [{"role": "user", "content": problem["prompt"]}]
    body = {"model": "frontier", "messages": message, "max_tokens": 100, "alpharay": controls}
    small = Load("", server, {"model": "frontier@1.5", "max_tokens": _SMALL_TOKENS})

    async with httpx.AsyncClient(timeout=300, trust_env=False) as http:

        async def ask_big(seed: int) -> float:
            started = time.monotonic()
            answer = await http.post(f"{server.url}/chat/completions", json={**body, "seed": seed})
            if answer.json()["alpharay"]["drawn"] != _BIG:
                raise SystemExit(f"{server.name} drew {answer.json()['alpharay']['drawn']} of {_BIG}")
            return time.monotonic() - started

        async def ask_small(over: asyncio.Event) -> list[float]:
            seconds: list[float] = []

            async def client() -> None:
                while not over.is_set():
                    started = time.monotonic()
                    await _ask(http, small, problem["prompt"], [], started)
                    seconds.append(time.monotonic() - started)
                    await asyncio.sleep(_PAUSE_S)

            await asyncio.gather(*(client() for _ in range(_SMALL_CLIENTS)))
            return seconds

        await ask_big(0)  # warm
        before = server.cpu_seconds()
        alone = [await ask_big(seed) for seed in range(100, 100 + rounds)]
        spent = server.cpu_seconds() - before
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(_QUIET_S, over.set)
        quiet = await ask_small(over)
        over = asyncio.Event()
        beside = asyncio.create_task(ask_small(over))
        together = [await ask_big(seed) for seed in range(200, 200 + rounds)]
        over.set()
        busy = await beside
    each = {role: seconds / (rounds * _BIG) * 1000 for role, seconds in spent.items()}
    roles = " | ".join(f"{each.get(role, 0):.2f}" for role in ("ingress", "host", "engine", "judge", "ray"))
    return (
        f"| {server.name} | {statistics.median(alone):.1f} ({min(alone):.1f}-{max(alone):.1f}) | {roles} | "
        f"{statistics.median(together):.1f} | {statistics.median(together) / statistics.median(alone):.2f} | "
        f"{_ms(quiet, 50)} | {_ms(quiet, 99)} | {_ms(busy, 50)} | {_ms(busy, 99)} | "
        f"{_at(busy, 99) / _at(quiet, 99):.1f} | {len(quiet)}, {len(busy)} |"
    )


@contextmanager
def _vllm(scratch: Path) -> Iterator[Server]:
    port = _free_port()
    command = [
        # `vllm serve` itself asks for the version of a package that the CPU build does not have.
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(_EMBEDDED / "high"),
        "--port", str(port), "--host", "127.0.0.1", "--dtype", "float32", "--served-model-name", "frontier@1",
        "--enforce-eager", "--no-enable-chunked-prefill", "--disable-log-stats",
        *[part for key, value in _ENGINE.items() for part in (f"--{key.replace('_', '-')}", str(value))],
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with _started("vLLM's own", command, _VLLM, scratch, f"{url}/health") as process:
        yield Server("vLLM's own", f"{url}/v1", process)


@contextmanager
def _alpharay(name: str, python: Path, scratch: Path) -> Iterator[Server]:
    port = _free_port()
    config = scratch / f"{name.replace(' ', '-')}.yaml"
    config.write_text(_everyones(_EMBEDDED))
    command = [str(python), "-m", "alpharay.serve.cli.main", "serve", str(config), "--port", str(port)]
    environment = {"ALPHARAY_CACHE": str(scratch / name.replace(" ", "-"))}
    url = f"http://127.0.0.1:{port}"
    with _started(name, command, environment, scratch, f"{url}/ready") as process:
        yield Server(name, f"{url}/v1", process)


def _everyones(embedded: Path) -> str:
    """The line of the embedded frontier, which every version of alpharay serves."""
    return (
        f"name: frontier\nendpoints: {{low: {embedded}/low, high: {embedded}/high}}\nmembers: [0, 0.5, 1, 1.5]\n"
        f"hosting: replicas\nengine: {{dtype: float32, max_model_len: {_ENGINE['max_model_len']}, "
        f"members_per_replica: 9, extra: {{max_num_seqs: {_ENGINE['max_num_seqs']}, "
        f"kv_cache_memory_bytes: {_ENGINE['kv_cache_memory_bytes']}}}}}\nrouter: {{max_budget: 512, deadline_s: 240}}\n"
    )


@contextmanager
def _litellm(program: Path, behind: Server, scratch: Path) -> Iterator[Server]:
    port = _free_port()
    config = scratch / "litellm.yaml"
    model = {"model": "hosted_vllm/frontier@1", "api_base": behind.url, "api_key": "none"}
    config.write_text(json.dumps({"model_list": [{"model_name": "frontier@1", "litellm_params": model}]}))
    command = [
        str(program),
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--telemetry",
        "False",
    ]
    url = f"http://127.0.0.1:{port}"
    offline = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    with _started("LiteLLM", command, offline, scratch, f"{url}/health/liveliness") as process:
        yield Server("LiteLLM's proxy", f"{url}/v1", process)


@contextmanager
def _optillm(program: Path, behind: Server, scratch: Path) -> Iterator[Server]:
    port = _free_port()
    command = [str(program), "--port", str(port), "--approach", "bon", "--best-of-n", str(_DRAWS),
               "--base-url", behind.url]  # fmt: skip
    url = f"http://127.0.0.1:{port}/v1"
    with _started("optillm", command, {"OPENAI_API_KEY": "none"}, scratch, f"{url}/models") as process:
        yield Server("optillm", url, process)


@contextmanager
def _started(
    name: str, command: list[str], environment: dict[str, str], scratch: Path, ready: str
) -> Iterator[psutil.Process]:
    log = scratch / f"{name.replace(' ', '-')}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        _wait(ready, process, log)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 400
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"{url} did not answer\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    """One below those that the system gives to connections, such as Ray's while a server starts."""
    while True:
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", random.randrange(15000, 28000)))
            return free.getsockname()[1]


def _at(seconds: list[float], percent: int) -> float:
    if not seconds:
        return float("nan")
    return sorted(seconds)[min(len(seconds) - 1, round(len(seconds) * percent / 100))]


def _ms(seconds: list[float], percent: int) -> str:
    if not seconds:
        return ""
    return f"{(statistics.median(seconds) if percent == 50 else _at(seconds, percent)) * 1000:.0f}"


def _report(
    rows: Sequence[str], big: Sequence[str], idle: Sequence[str], load: Sequence[float], rounds: int
) -> str:
    return f"""# Serving, beside a bare vLLM server

`python bench/serve.py`, {time.strftime("%Y-%m-%d")}, {os.cpu_count()} cores ({platform.machine()}), vLLM {version("vllm-cpu")},
load average before, between and after: {", ".join(f"{value:.1f}" for value in load)}. All servers up at once, asked in turn,
{rounds} rounds: requests a second are the median of rounds (with their range), the rest is over all rounds. Every sample
has {_TOKENS} tokens; tok/s counts all that was drawn. Milliseconds are wall time at the client, which shares the cores.
CPU milliseconds a sample are those of the server's own processes: its engine; what serves HTTP, of alpharay the host and
the ingress; all others. What LiteLLM and optillm ask of vLLM's own server is not in them. alpharay runs its 8 samples on the examples of the prompt before it answers;
vLLM's `n` only draws, and optillm has them rated by the model. At rest: {"; ".join(idle)}.

| server and load | clients | requests/s | tok/s | first text p50 | p99 | whole p50 | p99 | engine CPU | serving CPU | other CPU | failed |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Requests of {_BIG} samples over all members, each judged on {_CASES} stdio cases: seconds alone (range), CPU milliseconds a
sample by process, seconds with {_SMALL_CLIENTS} clients of small pinned requests ({_SMALL_TOKENS} tokens) beside, and those small requests'
milliseconds with and without it.

| server | seconds | ingress | host | engines | judge | Ray | beside small | ratio | quiet p50 | p99 | beside p50 | p99 | p99 ratio | requests |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(big)}
"""


if __name__ == "__main__":
    main()
