"""Half an hour on one GPU, in calls of less than nine minutes each.

    python -m bench.gpu kit engine                    # steps, in the order of the plan below
    python -m bench.gpu rate --only waves --only n    # some rows of a step
    python -m bench.gpu shift --pair embedded         # with the embedded frontier; else random weights, Qwen2 1.5 B
    python -m bench.gpu report --out bench/results/gpu.md
    python -m bench.gpu all --dry                     # on a CPU, in small: that all of it runs

The plan: kit (0-3 min) · engine (3-6) · compile (6-9) · shift (9-13) · three (13-16) · rate (16-20) · serve (20-23) ·
adapters (23-25). Each row is written to --rows as soon as it is measured, so that what ends early has lost nothing;
`report` makes a page of them. `compile` gets caches of its own where it is the only step; beside others it finds what
they compiled. Tried on a CPU so far, with --dry, which a test runs too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from bench.gpu.engines import on_gpu, prepare_environment
from bench.gpu.pairs import make_pair
from bench.gpu.steps import STEPS, Run

_ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("steps", nargs="+", choices=[*STEPS, "all", "report"])
    parser.add_argument("--pair", choices=["qwen", "embedded"], default="qwen")
    parser.add_argument("--only", action="append", default=[], help="a row of the step, by its name")
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--tokens", type=int, default=256, help="of each sample")
    parser.add_argument("--minutes", type=float, default=8.7, help="after which the call ends by itself")
    parser.add_argument("--rows", type=Path, default=_ROOT / "build" / "gpu" / "rows.jsonl")
    parser.add_argument("--out", type=Path, help="of `report`")
    parser.add_argument(
        "--dry", action="store_true", help="a small model and few samples: figures mean nothing"
    )
    arguments = parser.parse_args()
    if arguments.steps == ["report"]:
        page = report([json.loads(line) for line in arguments.rows.read_text().splitlines()])
        if arguments.out:
            arguments.out.write_text(page)
        else:
            print(page)
        return
    if not on_gpu() and not arguments.dry:
        parser.error(
            "this environment has no CUDA build of vLLM: `make env ENGINE=gpu`, or --dry for a try on the CPU"
        )
    steps = list(STEPS) if "all" in arguments.steps else [name for name in STEPS if name in arguments.steps]
    if arguments.dry:
        arguments.samples, arguments.tokens = min(arguments.samples, 6), min(arguments.tokens, 8)
    with tempfile.TemporaryDirectory() as scratch:
        prepare_environment(Path(scratch) / "compiled" if steps == ["compile"] else None)
        pair = make_pair(arguments.pair, _ROOT / "build" / "gpu", dry=arguments.dry, gpu=on_gpu())
        run = Run(
            pair=pair,
            samples=arguments.samples,
            tokens=arguments.tokens,
            rows=arguments.rows,
            scratch=Path(scratch),
            only=frozenset(arguments.only),
        )
        asyncio.run(_measure(run, steps, 60 * arguments.minutes))


async def _measure(run: Run, steps: list[str], seconds: float) -> None:
    """A step that fails, or that the time does not reach, is a row as well."""
    deadline = time.monotonic() + seconds
    for name in steps:
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, deadline - began)):
                await STEPS[name](run)
        except Exception as error:
            values = {"error": f"{type(error).__name__}: {error}"[:500]}
            run.write(name, "step", values, failed=True, seconds=time.monotonic() - began)


def report(rows: list[dict]) -> str:
    """The rows as a page; of a row that was measured again the last one."""
    latest = {(row["pair"], row["step"], row["row"]): row for row in rows}
    device = next(
        (row["values"]["device"] for row in rows if row["row"] == "versions" and not row["failed"]), "unknown"
    )
    lines = [f"# alpharay on {device}", "", f"`python -m bench.gpu`, {time.strftime('%Y-%m-%d')}.", ""]
    for pair in dict.fromkeys(pair for pair, _, _ in latest):
        lines += [f"## {pair}", "", "| step | row | seconds | measured |", "| --- | --- | --- | --- |"]
        for (name, step, row), values in latest.items():
            if name == pair:
                shown = ", ".join(f"{key} {_shown(value)}" for key, value in values["values"].items())
                failed = "**failed**: " if values["failed"] else ""
                lines.append(f"| {step} | {row} | {values['seconds']:.1f} | {failed}{shown} |")
        lines.append("")
    return "\n".join(lines)


def _shown(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
