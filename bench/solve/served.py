"""The same on a server that is up: `alpharay solve --server`, and each problem as a request of its own.

The server is the embedded frontier's, `alpharay serve`, or one with the five members of its schedule alone, and the problems are
its own test problems. Requests go to these members: by `uniform`, and by `portfolio`, with rising budgets, each until its first
pass.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq

from alpharay.serve.portfolio_file import read_portfolio
from bench.solve.curves import NEVER, Curves, Ints, cell, compared, of_first_passes
from bench.solve.recorded import EMBEDDED

PROBLEMS = EMBEDDED / "problems.jsonl"
PORTFOLIO = EMBEDDED / "portfolio.yaml"
BUDGETS = (1, 2, 5, 10)
LEVELS = 10  # samples a problem that `solve` may draw
MAX_TOKENS = 160
AT_ONCE = 32
TOTALS = (1, 2, 4)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a request came to. samples: drawn."""

    problem: str
    solved: bool
    samples: int


def measured(server: str, out: Path, number: int) -> str:
    """Markdown. out: a folder for the runs of `solve`. number: of problems, evenly from all. Raises SystemExit: it fails."""
    lines = PROBLEMS.read_text().splitlines(keepends=True)
    lines = [lines[index * len(lines) // number] for index in range(min(number, len(lines)))]
    out.mkdir(parents=True, exist_ok=True)
    file = out / "problems.jsonl"
    file.write_text("".join(lines))
    problems = [json.loads(line) for line in lines]
    ids = [problem["id"] for problem in problems]
    began, load = time.monotonic(), os.getloadavg()[0]
    members = _members(server)
    seconds: dict[str, float] = {}
    curves = {}
    for name, options in {"the schedule": ("--portfolio", str(PORTFOLIO)), "a learnt schedule": ()}.items():
        folder, since = out / name.replace(" ", "-"), time.monotonic()
        _solve(server, file, folder, *options)
        curves[f"`solve --server`, {name}"] = of_first_passes(_first_passes(folder, ids)[np.newaxis], LEVELS)
        seconds[name] = time.monotonic() - since
    for policy in ("uniform", "portfolio"):
        since = time.monotonic()
        answered = [asyncio.run(_answered(server, problems, policy, budget, members)) for budget in BUDGETS]
        curves[f"each request by `{policy}`"] = _curves(answered, ids)
        seconds[policy] = time.monotonic() - since
    even = curves.pop("each request by `uniform`")
    totals = [total for total in TOTALS if compared(even, even, total) is not None]
    head = ["", *(f"{total} a problem" for total in totals)]
    rows = [
        [
            "each request by `uniform`",
            *(f"{100 * known.solved:.1f}" for total in totals if (known := compared(even, even, total))),
        ]
    ]
    rows += [
        [name, *(cell(compared(each, even, total)) for total in totals)] for name, each in curves.items()
    ]
    ends = "; ".join(
        f"{name} {round(each.solved[-1].sum())} with {round(each.samples[-1].sum())} samples"
        for name, each in {"`uniform`": even, **curves}.items()
    )
    spent = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    about = (
        f"One run each, {len(ids)} problems, `{sys.executable.rpartition('/')[2]}` {platform.python_version()}, "
        f"{os.cpu_count()} cores ({_processor()}), load {load:.1f} before and {os.getloadavg()[0]:.1f} after, "
        f"{time.monotonic() - began:.0f} s in all ({spent}). At most {LEVELS} samples a problem; {AT_ONCE} requests at once."
    )
    cells = [head, ["---"] * len(head), *rows]
    return "\n\n".join(
        [about, "\n".join(f"| {' | '.join(line)} |" for line in cells), f"Solved in the end: {ends}."]
    )


def _members(server: str) -> list[str]:
    """Of the served schedule, as `alpharay.members` names them."""
    models = httpx.get(f"{server}/v1/models", timeout=60).json()["data"]
    names = [model["id"] for model in models if model["alpharay"]["kind"] == "member"]
    return [name.partition("@")[2] for name in dict.fromkeys(read_portfolio(PORTFOLIO, names).schedule)]


def _solve(server: str, file: Path, folder: Path, *options: str) -> None:
    budget = str(LEVELS * len(file.read_text().splitlines()))
    command = [sys.executable, "-m", "alpharay.serve.cli.main", "solve", str(file), "--server", server]
    command += ["--budget", budget, "--max-per-problem", str(LEVELS), "--max-tokens", str(MAX_TOKENS)]
    done = subprocess.run(
        [*command, "--in-flight", str(AT_ONCE), "--out", str(folder), *options], check=False
    )
    if done.returncode:
        raise SystemExit(f"alpharay solve ended with {done.returncode}")


def _first_passes(folder: Path, ids: Sequence[str]) -> Ints:
    """[problems]: the samples of each that passed, those under way at its pass included."""
    rows = pq.read_table(folder / "outcomes.parquet", columns=["problem", "verdict"]).to_pydict()
    drawn = Counter(rows["problem"])
    passed = {
        name for name, verdict in zip(rows["problem"], rows["verdict"], strict=True) if verdict == "accepted"
    }
    return np.array([drawn[name] if name in passed else NEVER for name in ids], dtype=np.int64)


async def _answered(
    server: str, problems: Sequence[Json], policy: str, budget: int, members: Sequence[str]
) -> list[Answered]:
    room = asyncio.Semaphore(AT_ONCE)

    async def answered(problem: Json) -> Answered:
        controls = {
            "budget": budget,
            "policy": policy,
            "members": members,
            "tests": problem["tests"],
            "stop_after_passes": 1,
            **{name: problem[name] for name in ("time_limit_s", "memory_limit_mb") if name in problem},
        }
        body = {
            "model": "frontier",
            "messages": [{"role": "user", "content": problem["prompt"]}],
            "max_tokens": MAX_TOKENS,
            "alpharay": controls,
        }
        async with room:
            answer = await http.post("/v1/chat/completions", json=body)
        answer.raise_for_status()
        note = answer.json()["alpharay"]
        verdicts: Counter[str] = Counter()
        for member in note["members"].values():
            verdicts.update(member["verdicts"])
        return Answered(problem=problem["id"], solved=verdicts["accepted"] > 0, samples=note["drawn"])

    async with httpx.AsyncClient(base_url=server, timeout=600) as http:
        return list(await asyncio.gather(*map(answered, problems)))


def _curves(answered: Sequence[Sequence[Answered]], ids: Sequence[str]) -> Curves:
    """A level for each budget."""
    solved, samples = np.zeros((len(answered) + 1, len(ids))), np.zeros((len(answered) + 1, len(ids)))
    number = {name: index for index, name in enumerate(ids)}
    for level, answers in enumerate(answered, 1):
        for answer in answers:
            solved[level, number[answer.problem]] = answer.solved
            samples[level, number[answer.problem]] = answer.samples
    return Curves(solved=solved, samples=samples)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
