"""Trains and evaluates the small frontier: `python -m bench.frontier all --seed 1`. All goes on where it was stopped."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.frontier.steps import SHARES, Options, Steps, steps_of

os.environ.setdefault("OMP_NUM_THREADS", "1")

VOCABULARY_EXAMPLES = 6000


def tokenizer_step(folder: Path, seed: int, kind: str = "contest") -> None:
    from bench.frontier.curriculum import CURRICULA
    from bench.frontier.tokenizer import train_tokenizer

    learnt = CURRICULA[kind]
    drawn = (learnt.example(seed, number) for number in range(VOCABULARY_EXAMPLES))
    texts = (text for prompt, programs in drawn for text in (prompt, programs[0]))
    train_tokenizer(texts, learnt.size.vocabulary).save(str(folder / "tokenizer.json"))


def sft_step(folder: Path, arguments: argparse.Namespace) -> None:
    from tokenizers import Tokenizer

    from bench.frontier.curriculum import CURRICULA
    from bench.frontier.sft import RANKS, run

    kind = CURRICULA[arguments.kind]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    run(
        arguments.rank,
        RANKS,
        kind.sft,
        arguments.seed,
        tokenizer,
        folder,
        teacher=kind.example,
        size=kind.size,
    )


def endpoint_step(folder: Path, arguments: argparse.Namespace) -> None:
    from bench.frontier.curriculum import CURRICULA
    from bench.frontier.grpo import run

    kind = CURRICULA[arguments.kind]
    pool = kind.pool(arguments.endpoint, arguments.seed)
    run(arguments.endpoint, arguments.seed, folder, kind.plans[arguments.endpoint], pool, kind.fast)


def together(*commands: list[str]) -> None:
    """Runs the commands beside each other; ends with the first that fails."""
    running = [subprocess.Popen([sys.executable, "-m", "bench.frontier", *command]) for command in commands]
    try:
        codes = [process.wait() for process in running]
    finally:
        for process in running:
            process.kill()
    if any(codes):
        raise SystemExit(f"stopped: exit codes {codes}; the same command goes on where it was")


def train(arguments: argparse.Namespace, folder: Path, same: list[str]) -> None:
    """The tokenizer, the start, both endpoints, both adapters; what is there already is left as it is."""
    if not (folder / "tokenizer.json").exists():
        tokenizer_step(folder, arguments.seed, arguments.kind)
    if not (folder / "init" / "model.safetensors").exists():
        (folder / "ranks").unlink(missing_ok=True)
        together(*(["sft-rank", "--rank", str(rank), *same] for rank in range(2)))
    from bench.frontier.curriculum import CURRICULA

    planned = CURRICULA[arguments.kind].plans
    for pair in (("low", "high"), ("lora_low", "lora_high")):
        if pair[0] not in planned:
            return
        left = [name for name in pair if not (folder / name / "done.json").exists()]
        if arguments.step == "sft" or (arguments.step == "endpoints" and pair[0] != "low"):
            return
        together(*(["rl", "--endpoint", name, *same] for name in left))


def evaluate(options: Options, steps: Steps, same: list[str]) -> None:
    """Samples and judges one set in two processes; writes its outcomes."""
    steps.check(options)  # or both processes would say what is missing
    more = ["--set", options.set, "--parts", *map(str, options.parts)]
    more += ["--samples", str(options.samples)] if options.samples else []
    more += ["--prompts", str(options.prompts)] if options.prompts else []
    together(*(["evaluate-share", "--rank", str(rank), *more, *same] for rank in range(SHARES)))
    steps.gather(options)


TRAINING = ("all", "sft", "endpoints")
EVALUATING = ("evaluate", "gate", "report", "search", "adopt", "embed")
INTERNAL = ("sft-rank", "rl", "evaluate-share")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.frontier", description=__doc__)
    parser.add_argument("step", choices=[*TRAINING, *EVALUATING, *INTERNAL])
    parser.add_argument("--kind", choices=["contest", "parts"], default="contest", help="of problems")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, default=None, help="default: build/frontier/seed=SEED, or parts-seed=SEED there"
    )
    parser.add_argument("--set", default="validation", help="of problems (default: validation)")
    parser.add_argument(
        "--parts",
        type=int,
        nargs="+",
        choices=(1, 2, 3),
        default=(1, 2, 3),
        help="only these counts of parts",
    )
    parser.add_argument(
        "--prompts", type=int, default=None, help="of each count of parts; default: the set's own"
    )
    parser.add_argument(
        "--samples", type=int, default=None, help="of each member and problem; default: the set's own"
    )
    parser.add_argument("--rank", type=int, default=0, help="which of the two processes this is")
    parser.add_argument("--endpoint", choices=["low", "high", "lora_low", "lora_high"], default="low")
    arguments = parser.parse_args()
    steps = steps_of(arguments.kind)
    wanted = "gate" if arguments.step == "gate" else arguments.set
    if wanted not in steps.sets:
        parser.error(f"{arguments.kind} has no set {wanted!r}; its sets are {', '.join(steps.sets)}")
    if arguments.step == "gate" and len(arguments.parts) < 3:
        parser.error("the gate is of all counts of parts: leave out --parts")
    folder = (arguments.out or Path("build/frontier") / f"{steps.prefix}seed={arguments.seed}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    same = ["--kind", arguments.kind, "--seed", str(arguments.seed), "--out", str(folder)]
    options = Options(
        kind=arguments.kind,
        seed=arguments.seed,
        folder=folder,
        set=wanted,
        samples=arguments.samples,
        prompts=arguments.prompts,
        parts=tuple(arguments.parts),
        rank=arguments.rank,
    )
    began = time.monotonic()
    if arguments.step in TRAINING:
        train(arguments, folder, same)
        print(f"{arguments.step} done in {time.monotonic() - began:.0f} s: {folder}", flush=True)
    elif arguments.step == "sft-rank":
        sft_step(folder, arguments)
    elif arguments.step == "rl":
        endpoint_step(folder, arguments)
    elif arguments.step in ("evaluate", "gate"):
        evaluate(options, steps, same)
        print(f"{wanted} done in {time.monotonic() - began:.0f} s", flush=True)
    elif arguments.step == "evaluate-share":
        steps.sample(options)
    elif arguments.step == "report":
        steps.report(arguments.seed)
    else:
        {"search": steps.search, "adopt": steps.adopt, "embed": steps.embed}[arguments.step](options)
        print(f"{arguments.step} done in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
