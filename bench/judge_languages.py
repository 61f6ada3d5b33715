"""What a case costs in each language that this machine has, beside the same program by its bare compiler or runtime.

    python bench/judge_languages.py --out bench/results/judge-languages.md [--packages VENV]

CPU-ms, the median of a few runs: of one case in the judge, of the same in a process of its own, and of the compilation,
which is done once a program. The program reads two numbers and prints their sum.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from alpharay.judge import Limits, parse_tests
from alpharay.judge.compile import trial
from alpharay.judge.compile.compiling import Binaries
from alpharay.judge.pool.job import Job
from alpharay.judge.pool.judging import judge
from alpharay.judge.sandbox.choice import start_safest
from alpharay.judge.sandbox.order import Ended, Order
from alpharay.judge.sandbox.toolchains import installed
from alpharay.judge.sandbox.worker import Worker

TESTS = parse_tests({"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}]})
SOURCES = {"python": "print(sum(map(int, input().split())))"} | {
    name: programs[0] for name, programs in trial.PROGRAMS.items()
}
FILES = {
    "python": "p.py",
    "cpp": "p.cpp",
    "rust": "p.rs",
    "go": "p.go",
    "java": "Main.java",
    "javascript": "p.js",
    "typescript": "p.ts",
}
COMPILED_BY = {
    "cpp": ["g++", "-O2", "-std=gnu++20", "-o", "p", "p.cpp"],
    "rust": ["rustc", "--edition", "2021", "-C", "opt-level=2", "-o", "p", "p.rs"],
    "go": ["go", "build", "-o", "p", "p.go"],
    "java": ["javac", "Main.java"],
}
RUN_BY = {
    "python": [sys.executable, "-S", "p.py"],
    "cpp": ["./p"],
    "rust": ["./p"],
    "go": ["./p"],
    "java": ["java", "-XX:+UseSerialGC", "Main"],
    "javascript": ["node", "p.js"],
    "typescript": ["node", "p.ts"],
}


class Counting:
    """A worker that adds up what tools took."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.tools_s = 0.0

    async def run(self, order: Order) -> Ended:
        ended = await self.worker.run(order)
        self.tools_s += ended.cpu_s if order.mode == "tool" else 0.0
        return ended


def bare_ms(command: list[str], folder: str) -> float:
    """CPU-ms of a command with all that it starts."""
    before = children_s()
    subprocess.run(command, cwd=folder, input=b"2 3\n", capture_output=True, check=True)
    return 1000 * (children_s() - before)


def children_s() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def bare(language: str, runs: int) -> tuple[float | None, float]:
    """CPU-ms of compiling, None where nothing is compiled, and of a run."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, FILES[language]).write_text(SOURCES[language])
        compiled = bare_ms(COMPILED_BY[language], folder) if language in COMPILED_BY else None
        return compiled, statistics.median(bare_ms(RUN_BY[language], folder) for _ in range(runs))


async def judged(worker: Worker, language: str, runs: int) -> tuple[float, float, float]:
    """CPU-ms of compiling and of a case, and MiB."""
    binaries, counting = Binaries(), Counting(worker)
    answer = f"```{language}\n{SOURCES[language]}\n```"
    job = Job(tests=TESTS, completion=answer, limits=Limits(), language=language)
    await judge(counting, job, binaries)
    verdicts = [await judge(counting, job, binaries) for _ in range(runs)]
    assert all(verdict.accepted for verdict in verdicts), verdicts[0]
    cpu_s = statistics.median(verdict.cpu_s for verdict in verdicts)
    return 1000 * counting.tools_s, 1000 * cpu_s, statistics.median(verdict.memory_mb for verdict in verdicts)


async def of_packages(packages: Path, runs: int) -> list[str]:
    """What showing an environment with numpy costs."""
    worker = await start_safest("auto", packages)
    source = "import numpy as np\nprint(int(np.array(list(map(int, input().split()))).sum()))"
    job = Job(tests=TESTS, completion=source, limits=Limits())
    cpu = [(await judge(worker, job)).cpu_s for _ in range(runs)]
    worker.close()
    command = [str(packages / "bin" / "python"), "-c", source]
    alone = statistics.median(bare_ms(command, "/") for _ in range(runs))
    note = (
        f"`--packages` with numpy: a case that imports it takes {1000 * statistics.median(cpu):.1f} CPU-ms, by itself in a "
        f"process {alone:.0f}. Each sandbox pays that import once, when it starts."
    )
    return ["", note]


async def measure(runs: int, packages: Path | None) -> str:
    worker = await start_safest("auto")
    note = (
        f"Layer `{worker.layer.name}`, {platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}; CPU-ms, the "
        f"median of {runs} runs of a program that adds two numbers. Load while it was measured: {os.getloadavg()[0]:.0f}."
    )
    lines = [
        "# A case in each language",
        "",
        note,
        "",
        "| language | by | a case | bare | MiB | compiling, once | bare |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for language in ("python", *installed.present()):
        compiled, alone = bare(language, runs)
        tools, case, memory = await judged(worker, language, runs)
        bare_compiled = "" if compiled is None else f"{compiled:.0f}"
        lines.append(
            f"| {language} | {trial.versions(language)} | {case:.1f} | {alone:.1f} | {memory:.0f} | "
            f"{f'{tools:.0f}' if tools else ''} | {bare_compiled} |"
        )
    worker.close()
    return "\n".join(lines + (await of_packages(packages, runs) if packages else [])) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--packages", type=Path, help="a virtual environment with numpy")
    arguments = parser.parse_args()
    report = asyncio.run(measure(arguments.runs, arguments.packages))
    print(report)
    if arguments.out:
        arguments.out.write_text(report)


if __name__ == "__main__":
    main()
