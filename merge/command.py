"""`alpharay merge`. Imports nothing heavy until it runs, so that `--help` is instant."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alpharay.merge.run import MergeResult

EXAMPLE = """\
theta(alpha) = LOW + alpha * (HIGH - LOW); alpha 0 is LOW, 1 is HIGH, outside [0, 1] extrapolates.

example:
  alpharay merge low/ high/ --alpha -0.5 --alpha 0.5 --alpha 1.5 --out frontier/

writes frontier/alpha=-0.5/, frontier/alpha=0.5/ and frontier/alpha=1.5/, each a complete checkpoint, and
frontier/manifest.json, in one pass over the inputs.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `alpharay merge` on `parser`."""
    parser.description = "Merge two checkpoints into one checkpoint per alpha."
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("low", metavar="LOW", type=Path, help="checkpoint directory at alpha 0")
    parser.add_argument("high", metavar="HIGH", type=Path, help="checkpoint directory at alpha 1")
    parser.add_argument(
        "--alpha",
        dest="alphas",
        metavar="A",
        type=float,
        action="append",
        required=True,
        help="how far to go from LOW towards HIGH; repeat for several outputs",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="directory to write")
    parser.add_argument("--method", choices=["ewa"], default="ewa", help="default: %(default)s")
    parser.add_argument(
        "--dtype", choices=["bf16", "fp16", "fp32"], help="what to write; default: as in the inputs"
    )
    parser.add_argument(
        "--rounding", choices=["nearest", "stochastic"], default="nearest", help="default: %(default)s"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of stochastic rounding; default: 0")


def run(arguments: argparse.Namespace) -> int:
    """Merges and prints the table. Raises MergeError; UsageError means exit code 2."""
    from alpharay.merge.run import merge  # noqa: PLC0415 -- numpy takes most of the start-up

    result = merge(
        low=arguments.low,
        high=arguments.high,
        alphas=arguments.alphas,
        out=arguments.out,
        dtype=arguments.dtype,
        rounding=arguments.rounding,
        seed=arguments.seed,
    )
    print(table(result))
    for line in result.warnings:
        print(f"warning: {line}", file=sys.stderr)
    return 0


def table(result: "MergeResult") -> str:
    """The outputs with what alpha became, one line each."""
    lines = [f"{'alpha':>8}  {'effective':>9}  {'by layers':>18}  {'rounding error':>15}  checkpoint    path"]
    for output in result.outputs:
        layers = (
            f"{min(output.groups.values()):.3f} to {max(output.groups.values()):.3f}"
            if output.groups
            else "-"
        )
        lines.append(
            f"{output.alpha:>8g}  {output.effective_alpha:>9.3f}  {layers:>18}  "
            f"{output.rounding_error:>6.1%} of delta  {output.sha256[:12]}  {output.path}"
        )
    if not result.written:
        lines.append(f"{result.out} holds this merge already; nothing was written")
    return "\n".join(lines)
