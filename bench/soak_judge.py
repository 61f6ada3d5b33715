"""A long run of the judge with hostile candidates and sandboxes killed at random.

    python bench/soak_judge.py --candidates 20000 --out bench/results/judge-soak.md

A tenth of the candidates is hostile (the programs under tests/judge/cases, which run nowhere but in the sandbox).
Each candidate must get exactly one verdict, an honest one the right one unless all of its attempts were killed, and
nothing may be left: no process, no file, no growth.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from alpharay.judge import JudgePool, Limits, VerdictKind, parse_tests

CASES = Path(__file__).parents[1] / "tests" / "judge" / "cases"
TESTS = {
    "call": {
        "kind": "call",
        "entry_point": "add",
        "cases": [{"args": [a, b], "output": a + b} for a, b in ((2, 3), (3, 4), (4, 5))],
    },
    "stdio": {"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}]},
}
LIMITS = Limits(cpu_s=0.3, memory_mb=256)
REPORT = """{candidates} candidates, a tenth of them hostile, {workers} workers in the layer `{layer}`, {killed} \
sandboxes killed at random ({deaths} deaths noticed), {seconds} s.

Answered: {answered}. Verdicts: {kinds}.
Honest candidates with another verdict than theirs: {others}. Candidates with `judge_error`: {whose}.
Left behind: {processes} processes, {files} files.
Resident memory of the host's side along the way, MiB: {mib}.
"""
# They wait for the hang guard, a second each, and would make the run one of waiting.
SLEEPERS = ("sleep", "sigstop", "wait", "h15", "p01", "daemon", "hang")


def hostile() -> list[tuple[str, str, str]]:
    """Name, kind of tests, and source of each."""
    programs = []
    for folder in (CASES, CASES / "more"):
        for name, entry in json.loads((folder / "expected.json").read_text())["programs"].items():
            if entry["mode"] in ("stdio", "call") and not any(word in name for word in SLEEPERS):
                source = (folder / "programs" / name).read_text()
                programs.append((name, entry["mode"], source))
    return programs


def honest(number: int) -> tuple[str, str, VerdictKind]:
    """Kind of tests, source, and what the verdict must be."""
    right = number % 3 != 0
    if number % 2:
        return "call", f"def add(a, b):\n    return a {'+' if right else '-'} b  # {number}", verdict(right)
    return (
        "stdio",
        f"a, b = map(int, input().split())\nprint(a {'+' if right else '*'} b)  # {number}",
        verdict(right),
    )


class Deaths(logging.Handler):
    """Counts the sandboxes that the pool finds dead. More than were killed: a program ended one."""

    seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += record.msg.startswith("a judge sandbox died")


def verdict(right: bool) -> VerdictKind:
    return VerdictKind.ACCEPTED if right else VerdictKind.WRONG_ANSWER


def scratch() -> set[str]:
    """Folders for compilers."""
    return {path.name for path in Path(tempfile.gettempdir()).glob("alpharay-build*")}


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


async def kill_now_and_then(dice: random.Random, killed: Counter[str]) -> None:
    while True:
        await asyncio.sleep(dice.uniform(1, 4))
        with contextlib.suppress(psutil.Error, IndexError):
            dice.choice(psutil.Process().children()).kill()
            killed["sandboxes"] += 1


async def soak(count: int, workers: int, seed: int, *, calm: bool) -> dict[str, object]:
    dice, killed, verdicts, wrong, ours = random.Random(seed), Counter(), Counter(), [], []
    evil = itertools.cycle(hostile())
    files = scratch()
    memory: list[float] = []
    answered = 0
    tests = {kind: parse_tests(fields) for kind, fields in TESTS.items()}
    deaths = Deaths()
    logging.getLogger("alpharay.judge.pool.pool").addHandler(deaths)
    async with JudgePool(workers) as pool:
        killer = None if calm else asyncio.create_task(kill_now_and_then(dice, killed))
        room = asyncio.Semaphore(8 * workers)

        async def judge_one(number: int) -> None:
            nonlocal answered
            if number % 10 == 0:
                name, kind, source = next(evil)
                source, expected = f"{source}\n# {number}", None
            else:
                name, (kind, source, expected) = "honest", honest(number)
            verdict = await pool.judge(
                tests[kind], f"```python\n{source}\n```", limits=LIMITS, group=number % 7
            )
            answered += 1
            verdicts[verdict.verdict] += 1
            if verdict.verdict is VerdictKind.JUDGE_ERROR:
                ours.append((name, verdict.detail))
            elif expected not in (None, verdict.verdict):
                wrong.append((number, verdict.verdict, verdict.detail))
            room.release()

        started, tasks = time.monotonic(), set()
        for number in range(count):
            await room.acquire()
            task = asyncio.create_task(judge_one(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            if number % max(1, count // 10) == 0:
                memory.append(psutil.Process().memory_info().rss / 2**20)
        await asyncio.gather(*tasks)
        seconds = time.monotonic() - started
        if killer:
            killer.cancel()
        memory.append(psutil.Process().memory_info().rss / 2**20)
        layer = pool.layer
    left = sorted(scratch() - files)
    return {
        "candidates": count,
        "verdicts": dict(verdicts.most_common()),
        "answered": answered,
        "wrong": wrong,
        "judge errors": ours,
        "killed": killed["sandboxes"],
        "deaths": deaths.seen,
        "processes left": [process.name() for process in descendants()],
        "files left": left,
        "memory": [round(each) for each in memory],
        "seconds": round(seconds),
        "layer": layer,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--calm", action="store_true", help="kill no sandbox: what then ends, a program has ended"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = asyncio.run(soak(arguments.candidates, arguments.workers, arguments.seed, calm=arguments.calm))
    kinds = ", ".join(f"{count} {kind}" for kind, count in results["verdicts"].items())
    whose = [f"{name} ({detail})" for name, detail in results["judge errors"]]
    lines = [
        "# The judge over many candidates",
        "",
        REPORT.format(
            **results,
            kinds=kinds,
            workers=arguments.workers,
            others=len(results["wrong"]),
            whose=f"{len(whose)}: {'; '.join(whose)}" if whose else "0",
            processes=len(results["processes left"]),
            files=len(results["files left"]),
            mib=", ".join(map(str, results["memory"])),
        ),
    ]
    print("\n".join([*lines, *map(str, results["wrong"][:10])]))
    if arguments.out:
        arguments.out.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
