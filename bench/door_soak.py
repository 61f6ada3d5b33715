"""A long run of the judge's door: many clients, hostile candidates, sandboxes killed at random, clients that leave.

    python -m bench.door_soak --minutes 3 --out bench/results/door-soak.md

Each client sends single candidates, batches and `/run_code` in turn, each candidate with a text of its own. Every one must get
exactly one answer, an honest one the right one unless all of its attempts were killed; the server's own count must agree, and
in the end nothing may be left: no candidate in the queue, no process, no growth.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import platform
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from alpharay.judge import VerdictKind
from bench.judge_door import CLIENTS, Server, door
from bench.soak_judge import TESTS, honest, hostile

BATCH = 20
LIMITS = {"time_limit_s": 0.3, "memory_limit_mb": 256}
ONE_IN = 10  # candidates of which one is hostile
LEAVING = 0.03  # share of requests that their client does not wait for
LOOK_S = 5.0
REPORT = """{minutes:g} minutes, {clients} clients, {workers} workers, one candidate in {one_in} hostile, {killed} sandboxes killed \
at random, {left} requests left by their clients, load {before:.0f} to {after:.0f}, {machine}, {cores} cores.

| | |
| --- | --- |
| answered | {answered} candidates ({rate:.0f} a second): {kinds} |
| lost | {lost} |
| answered twice, or under a foreign id | {twice} |
| honest with another verdict than theirs | {wrong} |
| `judge_error` | {ours} |
| counted by the server | {counted}, of which up to {abandoned} for clients that had left |
| in the queue, in requests at the end | {queued}, {in_flight} |
| processes left after the server's end | {processes} |
| resident memory of the server, MiB, in tenths of the run | {memory} |
"""


@dataclass(slots=True)
class Seen:
    """What all clients saw. wrong, ours, faults: in words. abandoned: candidates whose client left."""

    verdicts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lost: int = 0
    twice: int = 0
    left: int = 0
    abandoned: int = 0
    killed: int = 0
    memory: list[float] = field(default_factory=list)

    def verdict(self, name: str, expected: VerdictKind | None, answer: dict[str, object]) -> None:
        kind = str(answer["verdict"])
        self.verdicts[kind] += 1
        if kind == VerdictKind.JUDGE_ERROR:
            self.ours.append(f"{name} ({answer['detail']})")
        elif expected is not None and kind != expected:
            self.wrong.append(f"{name}: {kind} instead of {expected}, {answer['detail']}")


class Candidates:
    """Bodies of candidates, each with a text of its own."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._hostile = itertools.cycle(hostile())

    def next(self) -> tuple[str, str, str, VerdictKind | None]:
        """Name, kind of tests, source, and what the verdict must be where that is known."""
        number = next(self._numbers)
        if number % ONE_IN == 0:
            name, kind, source = next(self._hostile)
            return name, kind, f"{source}\n# {number}", None
        return f"honest {number}", *honest(number)


async def single(http: Server, candidates: Candidates, seen: Seen) -> None:
    name, kind, source, expected = candidates.next()
    answer = await http.post("/v1/judge", json={"tests": TESTS[kind], "program": source, "limits": LIMITS})
    if answer.status_code != 200:
        seen.lost += 1
        seen.faults.append(answer.text[:200])
        return
    seen.verdict(name, expected, answer.json())


async def batch(http: Server, candidates: Candidates, seen: Seen) -> None:
    drawn = [candidates.next() for _ in range(BATCH)]
    body = [
        {"id": str(index), "tests": TESTS[kind], "program": source, "limits": LIMITS}
        for index, (_, kind, source, _) in enumerate(drawn)
    ]
    missing = set(range(BATCH))
    async with http.stream("POST", "/v1/judge", json={"candidates": body}) as answer:
        if answer.status_code != 200:
            seen.faults.append((await answer.aread()).decode()[:200])
        else:
            async for line in answer.aiter_lines():
                judged = json.loads(line)
                index = int(judged["id"])
                if index not in missing:
                    seen.twice += 1
                    continue
                missing.discard(index)
                name, _, _, expected = drawn[index]
                seen.verdict(name, expected, judged)
    seen.lost += len(missing)


async def run_code(http: Server, candidates: Candidates, seen: Seen) -> None:
    number = next(candidates._numbers)  # noqa: SLF001 - so that the text is nobody else's
    code = f"a, b = map(int, input().split())\nprint(a + b, {number})"
    answer = await http.post("/run_code", json={"code": code, "language": "python", "stdin": "2 3"})
    printed = answer.json().get("run_result", {}).get("stdout") if answer.status_code == 200 else None
    if printed is None:
        seen.lost += 1
        seen.faults.append(answer.text[:200])
        return
    right = printed == f"5 {number}\n"
    seen.verdicts["accepted" if right else "another output"] += 1
    if not right:
        seen.wrong.append(f"run_code {number}: {answer.text[:200]}")


async def client(http: Server, candidates: Candidates, seen: Seen, dice: random.Random, until: float) -> None:
    while time.monotonic() < until:
        kind, size = dice.choice(((single, 1), (single, 1), (batch, BATCH), (run_code, 1)))
        if dice.random() < LEAVING:
            seen.left += 1
            seen.abandoned += size
            with contextlib.suppress(TimeoutError):
                # What it sees before it leaves is nobody's.
                await asyncio.wait_for(kind(http, candidates, Seen()), dice.uniform(0, 0.3))
        else:
            await kind(http, candidates, seen)


async def kill_now_and_then(pid: int, dice: random.Random, seen: Seen) -> None:
    while True:
        await asyncio.sleep(dice.uniform(1, 4))
        with contextlib.suppress(psutil.Error, IndexError):
            dice.choice(psutil.Process(pid).children()).kill()
            seen.killed += 1


async def look_at_memory(pid: int, seen: Seen) -> None:
    while True:
        seen.memory.append(psutil.Process(pid).memory_info().rss / 2**20)
        await asyncio.sleep(LOOK_S)


def tenths(samples: list[float]) -> Iterator[float]:
    step = max(1, len(samples) // 10)
    return (max(samples[start : start + step]) for start in range(0, len(samples), step))


async def gauge(http: Server, name: str) -> float:
    """The sum of all samples of a metric."""
    page = (await http.get("/metrics")).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page, re.MULTILINE))


def running(process: psutil.Process) -> bool:
    """Not one that has ended and that nobody has asked after."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


async def soak(minutes: float, clients: int, seed: int) -> str:
    dice, seen, candidates = random.Random(seed), Seen(), Candidates()
    before = os.getloadavg()[0]
    async with door() as http:
        await http.post("/v1/judge", json={"tests": TESTS["stdio"], "program": "print(5)"})
        already = await gauge(http, "alpharay_judged_total")
        server = psutil.Process(http.pid)
        watchers = [
            asyncio.create_task(kill_now_and_then(http.pid, random.Random(seed), seen)),
            asyncio.create_task(look_at_memory(http.pid, seen)),
        ]
        until = time.monotonic() + 60 * minutes
        began = time.monotonic()
        await asyncio.gather(
            *(client(http, candidates, seen, random.Random(dice.random()), until) for _ in range(clients))
        )
        seconds = time.monotonic() - began
        for watcher in watchers:
            watcher.cancel()
        counted = await gauge(http, "alpharay_judged_total") - already
        queued = await gauge(http, "alpharay_judge_queue_depth")
        in_flight = await gauge(http, "alpharay_requests_in_flight")
        below = server.children(recursive=True)
    processes = [process for process in psutil.wait_procs(below, timeout=5)[1] if running(process)]
    answered = seen.verdicts.total()
    lines = REPORT.format(
        minutes=minutes,
        clients=clients,
        workers=2,
        one_in=ONE_IN,
        killed=seen.killed,
        left=seen.left,
        before=before,
        after=os.getloadavg()[0],
        machine=platform.machine(),
        cores=os.cpu_count(),
        answered=answered,
        rate=answered / seconds,
        kinds=", ".join(f"{count} {kind}" for kind, count in seen.verdicts.most_common()),
        lost=seen.lost,
        twice=seen.twice,
        wrong="; ".join([str(len(seen.wrong)), *seen.wrong[:3]]),
        ours="; ".join([str(len(seen.ours)), *seen.ours[:5]]),
        counted=f"{counted:.0f}",
        abandoned=seen.abandoned,
        queued=f"{queued:.0f}",
        in_flight=f"{in_flight:.0f}",
        processes=len(processes),
        memory=", ".join(f"{each:.0f}" for each in tenths(seen.memory)),
    )
    notes = "\n".join(seen.faults[:5])
    if not answered <= counted <= answered + seen.abandoned:
        notes += f"\nthe server counted {counted:.0f} candidates, clients {answered} and {seen.abandoned} that left"
    return f"# The judge's door under clients, for minutes\n\n{lines}" + (f"\n{notes}\n" if notes else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = asyncio.run(soak(arguments.minutes, arguments.clients, arguments.seed))
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
