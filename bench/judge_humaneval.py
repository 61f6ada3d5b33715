"""HumanEval+ whole through the judge: every canonical solution, and the same made wrong on its last input alone.

    python bench/judge_humaneval.py HumanEvalPlus.jsonl.gz --out bench/results/judge-humaneval.md

What a canonical solution answers here, outside any sandbox, is what is expected of it inside. Each problem is a line of
the file beside `--out` as soon as it is judged, and is not judged again: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import platform
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from alpharay.judge import JudgePool, Limits, Verdict, parse_tests
from alpharay.judge.compare import any_digits
from alpharay.judge.problem import Tests

LIMITS = Limits(cpu_s=20, memory_mb=2048)
WRONG_AT_LAST = """
def _wrong_at_last(right, calls=[0], inside=[]):
    def answer(*args):
        if inside:  # it calls itself
            return right(*args)
        inside.append(True)
        calls[0] += 1
        try:
            value = right(*args)
        finally:
            inside.pop()
        return "wrong" if calls[0] == {inputs} else value
    return answer
{entry} = _wrong_at_last({entry})
"""
REPORT = """# HumanEval+ whole

{problems} problems, {inputs} inputs, `call` tests in the layer `{layer}`, 2 workers, limits {cpu_s:g} s and \
{memory_mb} MiB, {machine}, {cores} cores, Python {python}, {when}.

- Canonical solutions accepted on all inputs: {right} of {problems}.
- The same, made wrong on their last input alone, not accepted: {refused} of {problems} ({kinds}).
- The dearest case took {dearest:.2f} CPU-s ({whose}).

{exceptions}
"""


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def tests_of(problem: dict[str, Any]) -> tuple[Tests, str]:
    """The tests with what the canonical solution answers, and its source."""
    source, entry = problem["prompt"] + problem["canonical_solution"], problem["entry_point"]
    space: dict[str, Any] = {}
    exec(source, space)
    inputs = problem["base_input"] + (problem["plus_input"] or [])
    tests = {
        "kind": "call",
        "entry_point": entry,
        "cases": [{"args": args, "output": plain(space[entry](*plain(args)))} for args in inputs],
        "float_tolerance": problem["atol"] or 1e-6,
    }
    return parse_tests(tests), source


def plain(value: object) -> Any:
    return json.loads(json.dumps(value, default=list))


async def judge_all(problems: list[dict[str, Any]], done: IO[str]) -> None:
    async with JudgePool(2, "full") as pool:
        for problem in problems:
            started = time.process_time()
            with any_digits():
                tests, source = tests_of(problem)
            expected_s, inputs = time.process_time() - started, len(tests.cases)
            wrong = source + WRONG_AT_LAST.format(entry=problem["entry_point"], inputs=inputs)
            verdicts = await asyncio.gather(
                *(pool.judge(tests, each, limits=LIMITS) for each in (source, wrong))
            )
            line = {
                "problem": problem["task_id"],
                "inputs": inputs,
                "right": summary(verdicts[0]),
                "wrong": summary(verdicts[1]),
                "expected_cpu_s": round(expected_s, 3),
                "layer": pool.layer,
                "date": datetime.now(UTC).date().isoformat(),
            }
            done.write(json.dumps(line) + "\n")
            done.flush()
            print(line["problem"], verdicts[0].verdict, verdicts[1].verdict, flush=True)


def summary(verdict: Verdict) -> dict[str, Any]:
    about = {"verdict": verdict.verdict.value, "passed": verdict.passed, "cpu_s": verdict.cpu_s}
    return about if verdict.accepted else {**about, "detail": verdict.detail[:300]}


def report(lines: list[dict[str, Any]]) -> str:
    dates = sorted({line["date"] for line in lines})
    refused = [line for line in lines if line["wrong"]["verdict"] not in ("accepted", "judge_error")]
    kinds = Counter(line["wrong"]["verdict"] for line in lines)
    dearest = max(lines, key=lambda line: line["right"]["cpu_s"])
    exceptions = [
        f"- {line['problem']}, {kind}: {line[kind]['verdict']}, {line[kind].get('detail', '')}"
        for line in lines
        for kind, good in (("right", ("accepted",)), ("wrong", ("wrong_answer",)))
        if line[kind]["verdict"] not in good
    ]
    return REPORT.format(
        problems=len(lines),
        inputs=sum(line["inputs"] for line in lines),
        layer=lines[0]["layer"],
        cpu_s=LIMITS.cpu_s,
        memory_mb=LIMITS.memory_mb,
        machine=platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        when=" to ".join(dict.fromkeys((dates[0], dates[-1]))),
        right=sum(line["right"]["verdict"] == "accepted" for line in lines),
        refused=len(refused),
        kinds=", ".join(f"{count} {kind}" for kind, count in kinds.most_common()),
        dearest=dearest["right"]["cpu_s"],
        whose=dearest["problem"],
        exceptions="\n".join(["Exceptions:", "", *exceptions]) if exceptions else "No exceptions.",
    )


def run(path: Path, out: Path) -> str:
    """Judges what is not judged yet. Returns the report, which lies in `out` too."""
    problems, kept = read(path), out.with_suffix(".jsonl")
    before = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    have = {line["problem"] for line in before}
    with kept.open("a") as done:
        asyncio.run(judge_all([each for each in problems if each["task_id"] not in have], done))
    text = report([json.loads(line) for line in kept.read_text().splitlines()])
    out.write_text(text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("humaneval", type=Path, metavar="FILE", help="HumanEvalPlus.jsonl.gz")
    parser.add_argument("--out", type=Path, default=Path("bench/results/judge-humaneval.md"))
    arguments = parser.parse_args()
    print(run(arguments.humaneval, arguments.out))


if __name__ == "__main__":
    main()
