"""Trains and evaluates the small frontier: `python -m bench.frontier all --seed 1`. All goes on where it was stopped."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

VOCABULARY_EXAMPLES = 6000
RESULTS = Path("bench/results/frontier")


EMBEDDED = 1  # the seed whose weights are in the package


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which problems are sampled: `per_family` of each of the trained or of the held-out families.

    members: a function of `bench.frontier.members`. skipped: of each family's problems, the first that another set has.
    recorded: files of the same problems; members that these have outcomes of are not sampled again.
    """

    split: str
    per_family: int
    samples: int
    held_out: bool = False
    members: str = "frontier"
    skipped: int = 0
    recorded: tuple[str, ...] = ()


SETS = {
    "validation": Sampling("validation", 1, 250),
    "test": Sampling("test", 2, 250),
    "heldout": Sampling("test", 4, 64, held_out=True),
    "baselines": Sampling("test", 1, 32, members="baselines"),
    "adapters": Sampling("test", 1, 64, members="adapters"),
    "logits": Sampling("test", 1, 64, members="logits"),
    "fresh": Sampling("test", 4, 250, members="singles", skipped=2),
    "served": Sampling("test", 4, 250, members="served", skipped=2, recorded=("fresh", "found")),
}


def tokenizer_step(folder: Path, seed: int) -> None:
    from bench.frontier.examples import example
    from bench.frontier.tokenizer import train_tokenizer

    drawn = (example(seed, number) for number in range(VOCABULARY_EXAMPLES))
    texts = (text for prompt, programs in drawn for text in (prompt, programs[0]))
    train_tokenizer(texts).save(str(folder / "tokenizer.json"))


def sft_step(folder: Path, seed: int, rank: int, ranks: int) -> None:
    from tokenizers import Tokenizer

    from bench.frontier.sft import Sft, run

    run(rank, ranks, Sft(), seed, Tokenizer.from_file(str(folder / "tokenizer.json")), folder)


def weights_of(folder: Path, given: argparse.Namespace) -> Path:
    """Where the endpoints of that seed are: what was trained here, else the package's. Raises SystemExit: neither."""
    if (folder / "high" / "done.json").exists():
        return folder
    if given.seed == EMBEDDED and given.set != "baselines":  # the package has no earlier checkpoints
        return Path("serve/embedded")
    raise SystemExit(
        f"{given.set} needs what `make frontier SEED={given.seed}` trains; {folder} does not hold it"
    )


def parts_of(folder: Path, given: argparse.Namespace) -> Path:
    """Parts of another number of samples are not gone on with."""
    return folder / f"{given.set}-{given.samples or SETS[given.set].samples}"


def files_of(given: argparse.Namespace) -> list[Path]:
    """Of the same problems, the outcomes that are there already."""
    return [RESULTS / f"seed{given.seed}-{name}.parquet" for name in SETS[given.set].recorded]


def evaluate_step(folder: Path, given: argparse.Namespace) -> None:
    from tokenizers import Tokenizer

    from bench.frontier import members
    from bench.frontier.evaluate import evaluate, recorded
    from bench.frontier.problems.draw import FAMILIES, HELD_OUT, shuffled

    plan = SETS[given.set]
    families = list(HELD_OUT if plan.held_out else FAMILIES)
    raws = shuffled(families, plan.skipped + plan.per_family, plan.split)[plan.skipped * len(families) :]
    weights = weights_of(folder, given)
    asked = getattr(members, plan.members)(weights)
    there = recorded(asked, files_of(given))
    evaluate(
        raws,
        [member for member in asked if member.name not in there],
        given.samples or plan.samples,
        seed=given.seed,
        tokenizer=Tokenizer.from_file(str(weights / "init" / "tokenizer.json")),
        out=parts_of(folder, given),
        share=(given.rank, 2),
    )


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
        tokenizer_step(folder, given.seed)
    if not (folder / "init" / "model.safetensors").exists():
        (folder / "ranks").unlink(missing_ok=True)
        together(*(["sft-rank", "--rank", str(rank), *same] for rank in range(2)))
    for pair in (("low", "high"), ("lora_low", "lora_high")):
        left = [name for name in pair if not (folder / name / "done.json").exists()]
        if given.step == "sft" or (given.step == "endpoints" and pair[0] != "low"):
            return
        together(*(["rl", "--endpoint", name, *same] for name in left))


def evaluate(given: argparse.Namespace, folder: Path, same: list[str]) -> None:
    """Samples and judges one set in two processes; writes its outcomes file."""
    from bench.frontier import members
    from bench.frontier.evaluate import gather, recorded

    weights = weights_of(folder, given)  # or both processes would say what is missing
    more = ["--set", given.set] + (["--samples", str(given.samples)] if given.samples else [])
    together(*(["evaluate-share", "--rank", str(rank), *more, *same] for rank in range(2)))
    path = RESULTS / f"seed{given.seed}-{given.set}.parquet"
    also = recorded(getattr(members, SETS[given.set].members)(weights), files_of(given))
    print(f"{gather(parts_of(folder, given), path, also)} outcomes in {path}", flush=True)


def report() -> None:
    from bench.frontier.report import write

    write(
        sorted(int(path.name[4:].split("-")[0]) for path in RESULTS.glob("seed*-test.parquet")),
        RESULTS,
        Path("docs/results.md"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.frontier", description=__doc__)
    parser.add_argument(
        "step",
        choices=[
            "all",
            "sft",
            "endpoints",
            "evaluate",
            "report",
            "search",
            "adopt",
            "embed",
            "sft-rank",
            "rl",
            "evaluate-share",
        ],
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="default: build/frontier/seed=SEED")
    parser.add_argument("--set", choices=list(SETS), default="validation")
    parser.add_argument(
        "--samples", type=int, default=None, help="of each member and problem; default: the set's own"
    )
    parser.add_argument("--rank", type=int, default=0, help="which of the two processes this is")
    parser.add_argument("--endpoint", choices=["low", "high", "lora_low", "lora_high"], default="low")
    given = parser.parse_args()
    folder = (given.out or Path("build/frontier") / f"seed={given.seed}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    same = ["--seed", str(given.seed), "--out", str(folder)]
    began = time.monotonic()
    if given.step in ("all", "sft", "endpoints"):
        train(given, folder, same)
        print(f"{given.step} done in {time.monotonic() - began:.0f} s: {folder}", flush=True)
    elif given.step == "sft-rank":
        sft_step(folder, given.seed, given.rank, 2)
    elif given.step == "rl":
        from bench.frontier.grpo import run

        run(given.endpoint, given.seed, folder)
    elif given.step == "evaluate":
        evaluate(given, folder, same)
        print(f"{given.set} done in {time.monotonic() - began:.0f} s", flush=True)
    elif given.step == "evaluate-share":
        evaluate_step(folder, given)
    elif given.step == "report":
        report()
    elif given.step == "search":
        from bench.frontier import search

        given.set = "validation"
        search.run(
            weights_of(folder, given),
            Path("serve/embedded/problems-validation.jsonl"),
            folder / "search",
            given.seed,
        )
        print(f"search done in {time.monotonic() - began:.0f} s", flush=True)
    elif given.step == "adopt":
        from bench.frontier.embed import adopt

        adopt(folder / "search", Path("serve/embedded"))
    else:
        from bench.frontier.embed import embed

        embed(folder, Path("serve/embedded"), given.seed)


if __name__ == "__main__":
    main()
