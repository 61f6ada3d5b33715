"""`alpharay merge`. Imports nothing heavy until it runs, so that `--help` is instant."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from alpharay.merge.errors import UsageError

if TYPE_CHECKING:
    from alpharay.merge.compute.plan import Plan
    from alpharay.merge.write.run import MergeResult
    from alpharay.progress import ProgressLine

METHODS = {
    "ewa": "LOW + A * (HIGH - LOW)",
    "linear": "the sum of the weights given by --weights times LOW, HIGH",
    "expo": "HIGH + A * (HIGH - LOW), LOW being the base: A is ewa's minus 1",
    "wise-ft": "(1 - A) * LOW + A * HIGH, A in [0, 1]",
    "exme": "both extrapolated by A from --base, then averaged with --beta on LOW",
}
EXAMPLE = """\
theta(alpha) = LOW + alpha * (HIGH - LOW); alpha 0 is LOW, 1 is HIGH, outside [0, 1] extrapolates.

example:
  alpharay merge low/ high/ --alpha -0.5 --alpha 0.5 --alpha 1.5 --out frontier/

writes frontier/alpha=-0.5/, frontier/alpha=0.5/ and frontier/alpha=1.5/, each a complete checkpoint, and
frontier/manifest.json, in one pass over the inputs. Running it again does nothing.

--recipe takes any weighted sum of any number of checkpoints:
  models: {base: base/, maths: maths/, code: code/}     # the first gives tokenizer and configs
  outputs:
    even: {maths: 0.5, code: 0.5}
    layered: {weights: {maths: 1}, tensors: {"*.mlp.*": {maths: 0.3, code: 0.7}}}
  dtype: bf16

methods:
""" + "\n".join(f"  {name:8} {meaning}" for name, meaning in METHODS.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `alpharay merge` on `parser`."""
    parser.description = "Merge checkpoints: one checkpoint per alpha, all in one pass."
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("low", metavar="LOW", type=Path, nargs="?", help="checkpoint directory at alpha 0")
    parser.add_argument("high", metavar="HIGH", type=Path, nargs="?", help="checkpoint directory at alpha 1")
    parser.add_argument(
        "--alpha", dest="alphas", metavar="A", type=float, action="append", default=[],
        help="how far to go from LOW towards HIGH; repeat for several outputs",
    )  # fmt: skip
    parser.add_argument("--out", metavar="DIR", type=Path, help="directory to write")
    parser.add_argument("--base", metavar="DIR", type=Path, help="common base of LOW and HIGH (exme, LoRA)")
    parser.add_argument("--method", choices=list(METHODS), help="see below; default: ewa")
    parser.add_argument(
        "--delta", metavar="FILE", type=Path,
        help="write what turns LOW into HIGH to FILE; any merge takes it as HIGH",
    )  # fmt: skip
    parser.add_argument(
        "--plan", action="store_true", help="check everything, sample the weights, write nothing"
    )
    parser.add_argument("--recipe", metavar="FILE", type=Path, help="YAML: any linear combination, see below")
    parser.add_argument(
        "--beta", dest="betas", metavar="B", type=float, action="append", default=[],
        help="share of LOW (exme); repeat for several outputs",
    )  # fmt: skip
    parser.add_argument(
        "--weights", metavar="W,W", help="weights of LOW and HIGH (linear), taken as they are"
    )
    parser.add_argument(
        "--extract-lora", metavar="RANK", type=int, help="write the LoRA adapter nearest to HIGH - LOW"
    )
    parser.add_argument(
        "--allow-config", dest="allow_config", metavar="FIELD", action="append", default=[],
        help="a field of config.json that may differ between the inputs; repeat for several",
    )  # fmt: skip
    parser.add_argument("--normalise", action="store_true", help="divide --weights by their sum")
    parser.add_argument("--dtype", choices=["bf16", "fp16", "fp32"], help="default: as in the inputs")
    parser.add_argument("--rounding", choices=["nearest", "stochastic"], help="default: nearest")
    parser.add_argument("--seed", metavar="N", type=int, help="of stochastic rounding; default: 0")
    parser.add_argument(
        "--shard-size", metavar="SIZE", help="largest output file, like 5GB; default: files as in LOW"
    )


def run(arguments: argparse.Namespace) -> int:
    """Merges and prints the table. Raises MergeError; UsageError means exit code 2."""
    if arguments.delta is not None:
        return _delta(arguments)
    if arguments.plan:
        return _preview(arguments)
    from alpharay.merge.write.run import run_plan
    from alpharay.merge.write.table import merged_table
    from alpharay.progress import ProgressLine

    if arguments.out is None:
        raise UsageError("--out is missing; name the directory to write")
    if arguments.extract_lora is not None:
        return _extract(arguments)
    if _are_adapters(arguments):
        result = _merge_adapters(arguments)
    else:
        plan = read_plan(arguments)
        with ProgressLine() as line:
            result = run_plan(plan, arguments.out, progress=_progress(plan, line))
    print(merged_table(result))
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _progress(plan: "Plan", line: "ProgressLine") -> Callable[[int], None]:
    """A function to call with the number of weights of each output just written."""
    total = sum(tensor.size for tensor in plan.sources[0].checkpoint.tensors.values())
    done = 0

    def text() -> str:
        left = line.seconds / max(1, done) * (total - done)
        return f"{done / max(1, total):.0%} of {total / 1e6:.0f} M weights, {left:.0f} s left"

    def show(count: int) -> None:
        nonlocal done
        done += count
        line.show(done, total, text)

    return show


def _are_adapters(arguments: argparse.Namespace) -> bool:
    from alpharay.merge.adapters.adapter import is_adapter

    ends = (arguments.low, arguments.high)
    return None not in ends and all(is_adapter(end) for end in ends)


def _merge_adapters(arguments: argparse.Namespace) -> "MergeResult":
    from alpharay.merge.adapters.merge import merge_adapters

    _refuse(
        arguments,
        "betas",
        "weights",
        "normalise",
        "shard_size",
        "allow_config",
        because="LOW and HIGH are LoRA adapters",
    )
    if arguments.method not in (None, "ewa"):
        raise UsageError(f"--method {arguments.method} has no place here: LoRA adapters are merged by ewa")
    return merge_adapters(
        low=arguments.low,
        high=arguments.high,
        alphas=arguments.alphas,
        out=arguments.out,
        dtype=arguments.dtype,
        rounding=arguments.rounding or "nearest",
        seed=arguments.seed or 0,
        base=None if arguments.base is None else str(arguments.base),
    )


def _extract(arguments: argparse.Namespace) -> int:
    from alpharay.merge.adapters.extract import extract_lora

    _refuse(arguments, "alphas", "base", "method", "recipe", "betas", "weights", "normalise", "rounding",
            "shard_size", because="--extract-lora writes one adapter, from LOW to HIGH")  # fmt: skip
    if arguments.low is None or arguments.high is None:
        raise UsageError("LOW and HIGH are missing; name two checkpoint directories")
    result = extract_lora(
        low=arguments.low, high=arguments.high, rank=arguments.extract_lora, out=arguments.out,
        dtype=arguments.dtype, seed=arguments.seed or 0, allow_config=arguments.allow_config,
    )  # fmt: skip
    print(f"{result.out}: rank {result.rank}, {result.energy:.1%} of the delta's energy kept")
    for kind, (share, energy) in result.kinds.items():
        print(f"  {kind}: {share:.1%} of the energy, {energy:.1%} of that kept")
    if result.warning:
        print(f"warning: {result.warning}", file=sys.stderr)
    return 0


def _delta(arguments: argparse.Namespace) -> int:
    from alpharay.merge.diff import write_delta

    _refuse(arguments, "alphas", "out", "base", "method", "recipe", "betas", "weights", "normalise", "plan",
            *SETTINGS, because="--delta writes the difference of LOW and HIGH and nothing else")  # fmt: skip
    if arguments.low is None or arguments.high is None:
        raise UsageError("LOW and HIGH are missing; name two checkpoint directories")
    written = write_delta(
        low=arguments.low, high=arguments.high, out=arguments.delta, allow_config=arguments.allow_config
    )
    print(
        f"{written.path}: {written.nbytes / 1e6:.1f} MB, {written.nbytes / written.of:.1%} of HIGH; "
        f"{written.changed / max(1, written.total):.1%} of {written.total} weights differ"
    )
    return 0


def _preview(arguments: argparse.Namespace) -> int:
    from alpharay.merge.write.preview import preview
    from alpharay.merge.write.table import preview_table

    plan = read_plan(arguments)
    seen = preview(plan, arguments.out)
    print(preview_table(seen, plan.dtype_name))
    print(f"{arguments.out} holds this merge already" if seen.done else "nothing was written")
    for line in seen.warnings:
        print(f"warning: {line}", file=sys.stderr)
    return 0


def read_plan(arguments: argparse.Namespace) -> "Plan":
    """The merge that the arguments ask for. Raises MergeError."""
    from alpharay.merge.compute import methods
    from alpharay.merge.compute.plan import number, read_settings

    if arguments.recipe is not None:
        _refuse(arguments, "low", "high", "alphas", "base", "method", "betas", "weights", "normalise", *SETTINGS, "allow_config",
                because="the recipe says it all")  # fmt: skip
        from alpharay.merge.compute.recipe import plan_recipe

        return plan_recipe(arguments.recipe)
    low, high = arguments.low, arguments.high
    if low is None or high is None:
        raise UsageError("LOW and HIGH are missing; name two checkpoint directories, or a --recipe")
    method = arguments.method or "ewa"
    settings = read_settings(
        dtype=arguments.dtype,
        rounding=arguments.rounding or "nearest",
        seed=arguments.seed or 0,
        shard_size=arguments.shard_size,
        allow_config=arguments.allow_config,
    )
    if method != "exme":
        _refuse(arguments, "base", "betas", because=f"only exme takes it, not {method}")
    if method == "linear":
        _refuse(arguments, "alphas", because="linear takes --weights")
        weights = _weights(arguments.weights)
        return methods.plan_linear(
            models={"low": low, "high": high},
            outputs={f"weights={','.join(map(number, weights))}": weights},
            normalise=arguments.normalise,
            settings=settings,
        )
    _refuse(arguments, "weights", "normalise", because=f"only linear takes it, not {method}")
    alphas = arguments.alphas
    if method == "expo":
        return methods.plan_expo(base=low, tuned=high, alphas=alphas, settings=settings)
    if method == "wise-ft":
        return methods.plan_wise_ft(early=low, late=high, alphas=alphas, settings=settings)
    if method == "exme":
        if arguments.base is None:
            raise UsageError("exme needs --base, the checkpoint that LOW and HIGH were tuned from")
        return methods.plan_exme(
            base=arguments.base, first=low, second=high,
            alphas=alphas or methods.EXME_ALPHAS, betas=arguments.betas or methods.EXME_BETAS, settings=settings,
        )  # fmt: skip
    return methods.plan_ewa(low=low, high=high, alphas=alphas, settings=settings)


SETTINGS = ("dtype", "rounding", "seed", "shard_size")


def _refuse(arguments: argparse.Namespace, *names: str, because: str) -> None:
    for name in names:
        if getattr(arguments, name) not in (None, [], False):
            option = {"low": "LOW", "high": "HIGH", "alphas": "--alpha", "betas": "--beta"}.get(
                name, "--" + name.replace("_", "-")
            )
            raise UsageError(f"{option} has no place here: {because}")


def _weights(text: str | None) -> list[float]:
    try:
        weights = [float(part) for part in (text or "").split(",")]
    except ValueError:
        weights = []
    if len(weights) != 2:
        raise UsageError(
            "linear needs --weights with one number for LOW and one for HIGH, like --weights=-0.5,1.5"
        )
    return weights
