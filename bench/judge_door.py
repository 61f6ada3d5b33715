"""What the door costs beside the pool behind it: the same candidates by `/v1/judge` and by a `JudgePool`, in turn.

    python bench/judge_door.py --out bench/results/judge-door.md

Rounds take turns, since other work on the machine makes all of them dearer; the best of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from alpharay.judge import JudgePool, parse_tests

TESTS = {"kind": "stdio", "cases": [{"input": f"{n} {n}", "output": str(2 * n)} for n in range(10)]}
PROGRAM = "a, b = map(int, input().split())\nprint(a + b)  # {}\n"
BATCH, CLIENTS = 1000, 64


async def by_pool(programs: list[str]) -> float:
    """Candidates a second."""
    async with JudgePool(2) as pool:
        tests = parse_tests(TESTS)
        await pool.judge(tests, f"```python\n{PROGRAM.format('first')}```")
        began = time.monotonic()
        verdicts = await asyncio.gather(*(pool.judge(tests, f"```python\n{one}```") for one in programs))
        seconds = time.monotonic() - began
    assert all(verdict.accepted for verdict in verdicts)
    return len(programs) / seconds


@contextlib.asynccontextmanager
async def door() -> AsyncIterator[httpx.AsyncClient]:
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
        async with httpx.AsyncClient(base_url=address, timeout=600, limits=limits) as http:
            yield http
    finally:
        process.terminate()
        process.wait()


async def by_batches(http: httpx.AsyncClient, programs: list[str]) -> float:
    began, accepted = time.monotonic(), 0
    for start in range(0, len(programs), BATCH):
        candidates = [{"program": one} for one in programs[start : start + BATCH]]
        answer = await http.post("/v1/judge", json={"tests": TESTS, "candidates": candidates})
        accepted += answer.text.count('"accepted"')
    assert accepted == len(programs)
    return len(programs) / (time.monotonic() - began)


async def by_single_requests(http: httpx.AsyncClient, programs: list[str]) -> float:
    async def ask(program: str) -> bool:
        answer = await http.post("/v1/judge", json={"tests": TESTS, "program": program})
        return bool(answer.json()["verdict"] == "accepted")

    began = time.monotonic()
    assert all(await asyncio.gather(*map(ask, programs)))
    return len(programs) / (time.monotonic() - began)


async def run_code(http: httpx.AsyncClient, programs: list[str]) -> float:
    """Runs a second: one case each."""

    async def ask(program: str) -> bool:
        answer = await http.post("/run_code", json={"code": program, "language": "python", "stdin": "2 3"})
        return bool(answer.json()["run_result"]["stdout"] == "5\n")

    began = time.monotonic()
    assert all(await asyncio.gather(*map(ask, programs)))
    return len(programs) / (time.monotonic() - began)


async def measured(count: int, rounds: int) -> dict[str, float]:
    best: dict[str, float] = {}
    for turn in range(rounds):

        def programs(way: str, turn: int = turn) -> list[str]:
            return [PROGRAM.format(f"{way} {turn} {n}") for n in range(count)]

        found = {"a JudgePool in this process": await by_pool(programs("pool"))}
        async with door() as http:
            await http.post("/v1/judge", json={"tests": TESTS, "program": PROGRAM.format("first")})
            found["`/v1/judge`, batches of 1000"] = await by_batches(http, programs("batch"))
            found[f"`/v1/judge`, {CLIENTS} clients"] = await by_single_requests(http, programs("one"))
            found[f"`/run_code`, {CLIENTS} clients (1 case)"] = await run_code(http, programs("run"))
        best = {name: max(rate, best.get(name, 0.0)) for name, rate in found.items()}
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
            "rounds in turn. The client runs on the same cores."
        ),
        "",
        "| by | candidates/s |",
        "| --- | --- |",
        *(f"| {name} | {rate:.0f} |" for name, rate in best.items()),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
