"""What alpharay adds to a bare vLLM server, on the same engine, model and machine, one after the other.

    python bench/serve.py [--clients 1,16,64] [--peer PATH_OF_OPTILLM] [--out bench/results/serve.md]

Ways: vLLM's own server on the checkpoint of `high`; alpharay pinned to that member; alpharay's ensemble, one sample
a request; alpharay drawing 8 and returning one; and with `--peer` optillm's best-of-n of 8 in front of vLLM's own
server. Every request streams 64 tokens (`ignore_eos`) of the same prompts. Then one request of 250 samples over all
members with 30 tests, beside small pinned requests. The client shares the machine's cores with what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import httpx

_EMBEDDED = Path(str(files("alpharay.serve") / "embedded"))
_TOKENS, _DRAWS, _BIG, _CASES = 64, 8, 250, 30
_ENGINE = {"max_model_len": 512, "max_num_seqs": 64, "kv_cache_memory_bytes": 67108864}
_SMALL_MACHINE = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one engine process, as ours have
}


@dataclass(frozen=True, slots=True)
class Way:
    """One column of the comparison. body: what its requests say beside the prompt. drawn: samples a request."""

    name: str
    url: str
    body: dict
    drawn: int = 1
    streamed: bool = True


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds, one of each request: until the first text, and until the end. wall: of all together."""

    first: list[float]
    whole: list[float]
    wall: float
    failed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", default="1,16,64")
    parser.add_argument("--requests", type=int, default=3, help="of each client in a round")
    parser.add_argument("--peer", type=Path, help="optillm's program")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    clients = [int(number) for number in arguments.clients.split(",")]
    prompts = [json.loads(line)["prompt"] for line in (_EMBEDDED / "problems.jsonl").read_text().splitlines()]
    load = [f"{os.getloadavg()[0]:.1f}"]
    rows: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        with _vllm(Path(scratch)) as url:
            model = {"model": "frontier@1", "ignore_eos": True}
            rows += _measured(Way("vLLM's own server", url, model), prompts, clients, arguments.requests)
            if arguments.peer:
                with _optillm(arguments.peer, url) as peer:
                    best = {"model": "bon-frontier@1", "extra_body": {}, "best_of_n": _DRAWS}
                    way = Way(f"optillm, best of {_DRAWS}", peer, best, _DRAWS, streamed=False)
                    rows += _measured(way, prompts, clients, 1)
        load.append(f"{os.getloadavg()[0]:.1f}")
        with _alpharay(Path(scratch)) as url:
            same = {"ignore_eos": True}
            ways = [
                Way("alpharay, pinned", url, {"model": "frontier@1", **same}),
                Way("alpharay, ensemble", url, {"model": "frontier", **same}),
                Way(f"alpharay, best of {_DRAWS}", url,
                    {"model": "frontier", "alpharay": {"budget": _DRAWS, "members": [1]}, **same}, _DRAWS),
            ]  # fmt: skip
            for way in ways:
                rows += _measured(way, prompts, clients, 1 if way.drawn > 1 else arguments.requests)
            big = asyncio.run(_big_request(url))
        load.append(f"{os.getloadavg()[0]:.1f}")
    report = _report(rows, big, load)
    print(report)
    if arguments.out:
        arguments.out.write_text(report)


@contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    with log.open("w") as told:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=told, text=True, env={**os.environ, **environment}
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def _vllm(scratch: Path) -> Iterator[str]:
    port = _free_port()
    command = [
        # `vllm serve` itself asks for the version of a package that the CPU build does not have.
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(_EMBEDDED / "high"), "--port", str(port), "--host",
        "127.0.0.1", "--dtype", "float32", "--served-model-name", "frontier@1", "--enforce-eager",
        "--no-enable-chunked-prefill", "--disable-log-stats",
        *[part for key, value in _ENGINE.items() for part in (f"--{key.replace('_', '-')}", str(value))],
    ]  # fmt: skip
    with _process(command, _SMALL_MACHINE, scratch / "vllm.log") as process:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/health", process, scratch / "vllm.log")
        yield f"{url}/v1"


@contextmanager
def _alpharay(scratch: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "alpharay.serve.cli.main", "serve", "--port", "0"]
    environment = {"ALPHARAY_CACHE": str(scratch / "cache")}
    with _process(command, environment, scratch / "alpharay.log") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise SystemExit((scratch / "alpharay.log").read_text()[-2000:])
        yield line.split()[1]


@contextmanager
def _optillm(program: Path, behind: str) -> Iterator[str]:
    port = _free_port()
    command = [
        str(program),
        "--port",
        str(port),
        "--approach",
        "bon",
        "--best-of-n",
        str(_DRAWS),
        "--base-url",
        behind,
    ]
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "optillm.log"
        with _process(command, {"OPENAI_API_KEY": "none"}, log) as process:
            _wait(f"http://127.0.0.1:{port}/v1/models", process, log)
            yield f"http://127.0.0.1:{port}/v1"


def _wait(url: str, process: subprocess.Popen, log: Path) -> None:
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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _measured(way: Way, prompts: list[str], clients: list[int], each: int) -> list[str]:
    asyncio.run(_round(way, prompts, 2, 1))  # warm
    rows = []
    for number in clients:
        found = asyncio.run(_round(way, prompts, number, each))
        done = len(found.whole)
        rows.append(
            f"| {way.name} | {number} | {done / found.wall:.2f} | {done * way.drawn * _TOKENS / found.wall:.0f} | "
            f"{_ms(found.first, 50)} | {_ms(found.first, 99)} | {_ms(found.whole, 50)} | {_ms(found.whole, 99)} | "
            f"{found.failed} |"
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


async def _round(way: Way, prompts: list[str], clients: int, each: int) -> Round:
    first: list[float] = []
    whole: list[float] = []
    failed = 0

    async def one(http: httpx.AsyncClient, number: int) -> None:
        nonlocal failed
        for turn in range(each):
            prompt = prompts[(number * each + turn) % len(prompts)]
            started = time.monotonic()
            try:
                answered = await _ask(http, way, prompt, first, started)
            except httpx.HTTPError:
                answered = False
            if answered:
                whole.append(time.monotonic() - started)
            else:
                failed += 1

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as http:
        began = time.monotonic()
        await asyncio.gather(*(one(http, number) for number in range(clients)))
        return Round(first, whole, time.monotonic() - began, failed)


async def _ask(http: httpx.AsyncClient, way: Way, prompt: str, first: list[float], started: float) -> bool:
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": _TOKENS,
        "stream": way.streamed,
        **way.body,
    }
    heard = False
    async with http.stream("POST", f"{way.url}/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if not heard and '"content":"' in line and '"content":""' not in line:
                heard = True
                first.append(time.monotonic() - started)
    return answer.status_code == 200


async def _big_request(url: str) -> str:
    """One request of 250 samples with 30 tests, and what it does to small ones beside it."""
    problem = json.loads((_EMBEDDED / "problems.jsonl").read_text().splitlines()[3])
    cases = problem["tests"]["cases"]
    tests = {**problem["tests"], "cases": [cases[number % len(cases)] for number in range(_CASES)]}
    body = {
        "model": "frontier",
        "messages": [{"role": "user", "content": problem["prompt"]}],
        "max_tokens": 100,
        "alpharay": {
            "budget": _BIG,
            "stop_after_passes": _BIG,
            "tests": tests,
            "time_limit_s": 1,
            "deadline_s": 240,
        },
    }
    small = Way("", url, {"model": "frontier@1.5", "max_tokens": 16})

    async def while_(done: asyncio.Event) -> list[float]:
        whole: list[float] = []
        async with httpx.AsyncClient(timeout=300, trust_env=False) as http:
            while not done.is_set():
                started = time.monotonic()
                await _ask(http, small, problem["prompt"], [], started)
                whole.append(time.monotonic() - started)
                await asyncio.sleep(0.1)
        return whole

    quiet_over = asyncio.Event()
    asyncio.get_running_loop().call_later(10, quiet_over.set)
    quiet = await while_(quiet_over)
    over = asyncio.Event()
    beside = asyncio.create_task(while_(over))
    async with httpx.AsyncClient(timeout=300, trust_env=False) as http:
        started = time.monotonic()
        answer = (await http.post(f"{url}/chat/completions", json=body)).json()["alpharay"]
        took = time.monotonic() - started
    over.set()
    busy = await beside
    judged = sum(sum(member["verdicts"].values()) for member in answer["members"].values())
    return (
        f"One request of {_BIG} samples with {_CASES} stdio tests: {took:.1f} s (deadline 240 s), {answer['drawn']} "
        f"drawn, {judged} judged, stopped by {answer['stopped']}. Small pinned requests (16 tokens) meanwhile: "
        f"p50 {_ms(busy, 50)} ms, p99 {_ms(busy, 99)} ms over {len(busy)}; quiet: p50 {_ms(quiet, 50)} ms, "
        f"p99 {_ms(quiet, 99)} ms over {len(quiet)}; p99 ratio {_at(busy, 99) / _at(quiet, 99):.1f}."
    )


def _at(seconds: list[float], percent: int) -> float:
    if not seconds:
        return float("nan")
    return sorted(seconds)[min(len(seconds) - 1, round(len(seconds) * percent / 100))]


def _ms(seconds: list[float], percent: int) -> str:
    return (
        f"{statistics.median(seconds) * 1000:.0f}"
        if percent == 50 and seconds
        else f"{_at(seconds, percent) * 1000:.0f}"
    )


def _report(rows: list[str], big: str, load: list[str]) -> str:
    return f"""# Serving, beside a bare vLLM server

`python bench/serve.py`, {time.strftime("%Y-%m-%d")}, {os.cpu_count()} cores ({platform.machine()}), vLLM {version("vllm-cpu")},
load average before, between and after: {", ".join(load)}. Every request streams {_TOKENS} tokens; tok/s counts all that was
drawn. Milliseconds are wall time at the client, which runs on the same cores.

| way | clients | requests/s | tok/s | first text p50 | p99 | whole p50 | p99 | failed |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{big}
"""


if __name__ == "__main__":
    main()
