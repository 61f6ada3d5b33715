"""Trains and evaluates the small frontier: `python -m bench.frontier all --seed 1`. All goes on where it was stopped."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.frontier.steps import SHARES, Asked, Steps, steps_of

os.environ.setdefault("OMP_NUM_THREADS", "1")

VOCABULARY_EXAMPLES = 6000


def tokenizer_step(folder: Path, seed: int, kind: str = "contest") -> None:
    from bench.frontier.curriculum import CURRICULA
    from bench.frontier.tokenizer import train_tokenizer

    learnt = CURRICULA[kind]
    drawn = (learnt.example(seed, number) for number in range(VOCABULARY_EXAMPLES))
    texts = (text for prompt, programs in drawn for text in (prompt, programs[0]))
    train_tokenizer(texts, learnt.size.vocabulary).save(str(folder / "tokenizer.json"))


def sft_step(folder: Path, given: argparse.Namespace) -> None:
    from tokenizers import Tokenizer

    from bench.frontier.curriculum import CURRICULA
    from bench.frontier.sft import RANKS, run

    kind = CURRICULA[given.kind]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    run(given.rank, RANKS, kind.sft, given.seed, tokenizer, folder, teacher=kind.example, size=kind.size)


def endpoint_step(folder: Path, given: argparse.Namespace) -> None:
    from bench.frontier.curriculum import CURRICULA
    from bench.frontier.grpo import run

    kind = CURRICULA[given.kind]
    pool = kind.pool(given.endpoint, given.seed)
    run(given.endpoint, given.seed, folder, kind.plans[given.endpoint], pool, kind.fast)


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


def train(given: argparse.Namespace, folder: Path, same: list[str]) -> None:
    """The tokenizer, the start, both endpoints, both adapters; what is there already is left as it is."""
    if not (folder / "tokenizer.json").exists():
        tokenizer_step(folder, given.seed, given.kind)
    if not (folder / "init" / "model.safetensors").exists():
        (folder / "ranks").unlink(missing_ok=True)
        together(*(["sft-rank", "--rank", str(rank), *same] for rank in range(2)))
    from bench.frontier.curriculum import CURRICULA

    planned = CURRICULA[given.kind].plans
    for pair in (("low", "high"), ("lora_low", "lora_high")):
        if pair[0] not in planned:
            return
        left = [name for name in pair if not (folder / name / "done.json").exists()]
        if given.step == "sft" or (given.step == "endpoints" and pair[0] != "low"):
            return
        together(*(["rl", "--endpoint", name, *same] for name in left))


def evaluate(asked: Asked, steps: Steps, same: list[str]) -> None:
    """Samples and judges one set in two processes; writes its outcomes."""
    steps.check(asked)  # or both processes would say what is missing
    more = ["--set", asked.set, "--parts", *map(str, asked.parts)]
    more += ["--samples", str(asked.samples)] if asked.samples else []
    more += ["--prompts", str(asked.prompts)] if asked.prompts else []
    together(*(["evaluate-share", "--rank", str(rank), *more, *same] for rank in range(SHARES)))
    steps.gather(asked)


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
    given = parser.parse_args()
    steps = steps_of(given.kind)
    wanted = "gate" if given.step == "gate" else given.set
    if wanted not in steps.sets:
        parser.error(f"{given.kind} has no set {wanted!r}; its sets are {', '.join(steps.sets)}")
    if given.step == "gate" and len(given.parts) < 3:
        parser.error("the gate is of all counts of parts: leave out --parts")
    folder = (given.out or Path("build/frontier") / f"{steps.prefix}seed={given.seed}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    same = ["--kind", given.kind, "--seed", str(given.seed), "--out", str(folder)]
    asked = Asked(
        kind=given.kind,
        seed=given.seed,
        folder=folder,
        set=wanted,
        samples=given.samples,
        prompts=given.prompts,
        parts=tuple(given.parts),
        rank=given.rank,
    )
    began = time.monotonic()
    if given.step in TRAINING:
        train(given, folder, same)
        print(f"{given.step} done in {time.monotonic() - began:.0f} s: {folder}", flush=True)
    elif given.step == "sft-rank":
        sft_step(folder, given)
    elif given.step == "rl":
        endpoint_step(folder, given)
    elif given.step in ("evaluate", "gate"):
        evaluate(asked, steps, same)
        print(f"{wanted} done in {time.monotonic() - began:.0f} s", flush=True)
    elif given.step == "evaluate-share":
        steps.sample(asked)
    elif given.step == "report":
        steps.report(given.seed)
    else:
        {"search": steps.search, "adopt": steps.adopt, "embed": steps.embed}[given.step](asked)
        print(f"{given.step} done in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
