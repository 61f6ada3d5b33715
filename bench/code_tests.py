"""How `code` tests of three styles are run: apart from the candidate, together with it, or not at all.

    python bench/code_tests.py --out bench/results/code_tests.md

HumanEval's own tests with its canonical solutions, and the honest programs of `tests/judge/data/code_tests.txt`.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import platform
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from alpharay.judge import JudgePool, Limits, Verdict, VerdictKind, parse_tests

DATA = Path(__file__).parent.parent / "tests" / "judge" / "data"
COLUMNS = ("apart", "together", "refused", "failed")
REPORT = """# How `code` tests are run

Right programs and their tests in the layer `{layer}`, Python {python}, {when}.

| tests | programs | accepted apart | accepted together | refused (`judge_error`) | failed |
| --- | ---: | ---: | ---: | ---: | ---: |
{rows}

*HumanEval* is its 164 problems with their canonical solutions; the other rows are the programs of
`tests/judge/data/code_tests.txt`, written in the style of that benchmark, each of which plain Python passes. Together with
their tests ran: {together}. Made by `bench/code_tests.py`.
"""


def programs() -> list[tuple[str, str, str, str, str | None]]:
    """(row, name, program, tests, entry point)"""
    with gzip.open(DATA / "humaneval" / "HumanEval.jsonl.gz", "rt") as lines:
        problems = [json.loads(line) for line in lines]
    rows: list[tuple[str, str, str, str, str | None]] = [
        ("HumanEval", p["task_id"], p["prompt"] + p["canonical_solution"], p["test"], p["entry_point"])
        for p in problems
    ]
    styles = {
        "humaneval": "HumanEval's style",
        "mbpp": "MBPP's style",
        "bigcodebench": "BigCodeBench's style",
    }
    for block in (DATA / "code_tests.txt").read_text().split("#### ")[1:]:
        head, rest = block.split("\n", maxsplit=1)
        style, name = head.split()
        source, tests = rest.split("\n----\n")
        rows.append((styles[style], name, source, tests, name if "def check(" in tests else None))
    return rows


def column(verdict: Verdict) -> str:
    if verdict.verdict is VerdictKind.JUDGE_ERROR:
        return "refused"
    if not verdict.accepted:
        return "failed"
    return "together" if "own process" in verdict.detail else "apart"


async def report(layer: str) -> str:
    rows: dict[str, Counter[str]] = {}
    together = []
    async with JudgePool(workers=2, sandbox=layer) as pool:
        for row, name, source, tests, entry_point in programs():
            tests_object = {"kind": "code", "code": tests} | (
                {"entry_point": entry_point} if entry_point else {}
            )
            verdict = await pool.judge(
                parse_tests(tests_object), f"```python\n{source}\n```", limits=Limits(cpu_s=10)
            )
            rows.setdefault(row, Counter())[column(verdict)] += 1
            if column(verdict) == "together":
                together.append(f"`{name}` ({verdict.detail.rpartition(': ')[2]})")
            elif column(verdict) != "apart":
                print(name, verdict.verdict, verdict.detail)
    lines = [
        f"| {row} | {sum(counts.values())} | {' | '.join(str(counts[each]) for each in COLUMNS)} |"
        for row, counts in rows.items()
    ]
    return REPORT.format(
        layer=layer,
        python=platform.python_version(),
        when=datetime.now(UTC).date(),
        rows="\n".join(lines),
        together=", ".join(together) or "none",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layer", default="landlock", choices=["full", "landlock"])
    parser.add_argument("--out", type=Path, default=Path("bench/results/code_tests.md"))
    arguments = parser.parse_args()
    text = asyncio.run(report(arguments.layer))
    arguments.out.write_text(text)
    print(text)
