"""What the door costs beside the pool behind it: the same candidates by `/v1/judge` and by a `JudgePool`, in turn.

And what isolation costs: the same programs by `/run_code` and by a bare subprocess server of the same form.

    python bench/judge_door.py --out bench/results/judge-door.md

Rounds take turns, since other work on the machine makes all of them dearer; the best of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from alpharay.judge import JudgePool, parse_tests

TESTS = {"kind": "stdio", "cases": [{"input": f"{n} {n}", "output": str(2 * n)} for n in range(10)]}
PROGRAM = "a, b = map(int, input().split())\nprint(a + b)  # {}\n"
BATCH, CLIENTS = 1000, 64


@dataclass(frozen=True, slots=True)
class Measured:
    """Candidates a second, and CPU milliseconds of each: of whoever judges, and of the client where it is another process."""

    rate: float
    cpu_ms: float
    client_ms: float = 0.0


def cpu_s(pid: int | str) -> float:
    """CPU seconds of a process and all below it, those that have ended among them."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_s, children))


class Server(httpx.AsyncClient):
    """A client of a server of its own. pid: the server's."""

    pid: int


@contextlib.contextmanager
def measuring(count: int, server: Server | None = None) -> Iterator[list[Measured]]:
    """Yields the list that the measurement comes into."""
    results: list[Measured] = []
    here = os.getpid()
    pid = server.pid if server is not None else here
    began, before, ours = time.monotonic(), cpu_s(pid), time.process_time()
    yield results
    rate, cpu_ms = count / (time.monotonic() - began), (cpu_s(pid) - before) / count * 1e3
    client_ms = 0.0 if server is None else (time.process_time() - ours) / count * 1e3
    results.append(Measured(rate, cpu_ms, client_ms))


async def by_pool(programs: list[str]) -> Measured:
    async with JudgePool(2) as pool:
        tests = parse_tests(TESTS)
        await pool.judge(tests, f"```python\n{PROGRAM.format('first')}```")
        with measuring(len(programs)) as results:
            verdicts = await asyncio.gather(
                *(pool.judge(tests, f"```python\n{program}```") for program in programs)
            )
    assert all(verdict.accepted for verdict in verdicts)
    return results[0]


@contextlib.asynccontextmanager
async def door() -> AsyncIterator[Server]:
    command = [
        sys.executable,
        "-m",
        "alpharay.serve.cli.main",
        "judge",
        "--serve",
        "--port",
        "0",
        "--workers",
        "2",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - once
    assert process.stdout is not None
    try:
        address = process.stdout.readline().split()[1]
        limits = httpx.Limits(max_connections=CLIENTS)
        async with Server(base_url=address, timeout=600, limits=limits) as http:
            http.pid = process.pid
            yield http
    finally:
        process.terminate()
        process.wait()


@contextlib.asynccontextmanager
async def subprocess_server() -> AsyncIterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = Path(__file__).with_name("subprocess_server.py")
    process = subprocess.Popen([sys.executable, str(script), str(port)])  # noqa: ASYNC220 - once
    limits = httpx.Limits(max_connections=CLIENTS)
    transport = httpx.AsyncHTTPTransport(retries=10, limits=limits)  # until it listens
    try:
        async with Server(base_url=f"http://127.0.0.1:{port}", timeout=600, transport=transport) as http:
            http.pid = process.pid
            yield http
    finally:
        process.terminate()
        process.wait()


async def by_batches(http: Server, programs: list[str]) -> Measured:
    accepted = 0
    with measuring(len(programs), http) as results:
        for start in range(0, len(programs), BATCH):
            candidates = [{"program": program} for program in programs[start : start + BATCH]]
            answer = await http.post("/v1/judge", json={"tests": TESTS, "candidates": candidates})
            accepted += answer.text.count('"accepted"')
    assert accepted == len(programs)
    return results[0]


async def by_single_requests(http: Server, programs: list[str]) -> Measured:
    async def ask(program: str) -> bool:
        answer = await http.post("/v1/judge", json={"tests": TESTS, "program": program})
        return bool(answer.json()["verdict"] == "accepted")

    with measuring(len(programs), http) as results:
        assert all(await asyncio.gather(*map(ask, programs)))
    return results[0]


async def run_code(http: Server, programs: list[str]) -> Measured:
    """One case each."""

    async def ask(program: str) -> bool:
        answer = await http.post("/run_code", json={"code": program, "language": "python", "stdin": "2 3"})
        return bool(answer.json()["run_result"]["stdout"] == "5\n")

    with measuring(len(programs), http) as results:
        assert all(await asyncio.gather(*map(ask, programs)))
    return results[0]


async def measured(count: int, rounds: int) -> dict[str, Measured]:
    best: dict[str, Measured] = {}
    for turn in range(rounds):

        def programs(way: str, turn: int = turn) -> list[str]:
            return [PROGRAM.format(f"{way} {turn} {n}") for n in range(count)]

        results = {"a JudgePool in this process": await by_pool(programs("pool"))}
        async with door() as http:
            await http.post("/v1/judge", json={"tests": TESTS, "program": PROGRAM.format("first")})
            results["`/v1/judge`, batches of 1000"] = await by_batches(http, programs("batch"))
            results[f"`/v1/judge`, {CLIENTS} clients"] = await by_single_requests(http, programs("one"))
            results[f"`/run_code`, {CLIENTS} clients (1 case)"] = await run_code(http, programs("run"))
        async with subprocess_server() as http:
            await run_code(http, programs("first")[:1])
            bare = await run_code(http, programs("bare"))
            results[f"a bare subprocess server's `/run_code`, {CLIENTS} clients (1 case)"] = bare
        for name, each in results.items():
            before = best.get(name, each)
            best[name] = Measured(
                max(each.rate, before.rate),
                min(each.cpu_ms, before.cpu_ms),
                min(each.client_ms, before.client_ms),
            )
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    before = os.getloadavg()[0]
    best = asyncio.run(measured(arguments.candidates, arguments.rounds))
    after = os.getloadavg()[0]
    lines = [
        "# What the judge's door costs",
        "",
        (
            f"{arguments.candidates} candidates x 10 stdio cases, 2 workers, {platform.machine()}, {os.cpu_count()} cores, load "
            f"{before:.0f} to {after:.0f} from other work, Python {platform.python_version()}; the best of {arguments.rounds} "
            "rounds in turn. The client runs on the same cores. CPU time says more than candidates a second where other work "
            "takes turns with this."
        ),
        "",
        "| by | candidates/s | CPU ms a candidate | of the client |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {each.rate:.0f} | {each.cpu_ms:.2f} | {each.client_ms:.2f} |"
            for name, each in best.items()
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
