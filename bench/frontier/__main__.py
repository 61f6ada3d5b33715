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


@dataclass(frozen=True, slots=True)
class PartsSampling:
    """Problems of several parts: `prompts` of each count of parts, two problems each."""

    split: str
    prompts: int
    samples: int


PARTS_SETS = {
    "gate": PartsSampling("validation", 40, 50),
    "validation": PartsSampling("validation", 40, 300),
    "test": PartsSampling("test", 80, 300),
}
TOGETHER = 12  # problems of several parts that are sampled together


def weights_of(folder: Path, given: argparse.Namespace) -> Path:
    """Where the endpoints of that seed are: what was trained here, else the package's. Raises SystemExit: neither."""
    if (folder / "high" / "done.json").exists():
        return folder
    if (
        given.kind == "contest" and given.seed == EMBEDDED and given.set != "baselines"
    ):  # the package has no earlier checkpoints
        return Path("serve/embedded")
    raise SystemExit(
        f"{given.set} needs what `make frontier KIND={given.kind} SEED={given.seed}` trains; {folder} does not hold it"
    )


def parts_of(folder: Path, given: argparse.Namespace) -> Path:
    """Parts of another number of samples are not gone on with."""
    plan = SETS[given.set] if given.kind == "contest" else PARTS_SETS[given.set]
    return folder / f"{given.set}-{given.samples or plan.samples}"


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


def evaluate_parts_step(folder: Path, given: argparse.Namespace) -> None:
    """One process's share of a set of problems of several parts."""
    from tokenizers import Tokenizer

    from bench.frontier import members
    from bench.frontier.evaluate import evaluate
    from bench.frontier.parts.draw import evaluation
    from bench.frontier.parts.gate import NAMES
    from bench.frontier.parts.outcomes import best_off_the_line

    plan = PARTS_SETS[given.set]
    weights = dict(members.PARTS_SINGLES)
    if given.set == "gate":
        weights = {name: weights[name] for name in NAMES}
    elif given.set == "validation":
        weights |= members.PARTS_PLANE
    else:
        name = best_off_the_line(RESULTS, given.seed, list(members.PARTS_PLANE))
        weights[name] = members.PARTS_PLANE[name]
    evaluate(
        evaluation(plan.split, given.prompts or plan.prompts),
        members.points(folder, weights),
        given.samples or plan.samples,
        seed=given.seed,
        tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")),
        out=parts_of(folder, given),
        share=(given.rank, 2),
        size=TOGETHER,
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


def evaluate(given: argparse.Namespace, folder: Path, same: list[str]) -> None:
    """Samples and judges one set in two processes; writes its outcomes file."""
    from bench.frontier import members
    from bench.frontier.evaluate import gather, recorded

    weights = weights_of(folder, given)  # or both processes would say what is missing
    more = ["--set", given.set] + (["--samples", str(given.samples)] if given.samples else [])
    more += ["--prompts", str(given.prompts)] if given.prompts else []
    together(*(["evaluate-share", "--rank", str(rank), *more, *same] for rank in range(2)))
    if given.kind == "parts":
        from bench.frontier.parts.draw import evaluation
        from bench.frontier.parts.outcomes import gather_parts, keep_problems

        plan = PARTS_SETS[given.set]
        target = folder if given.set == "gate" else RESULTS
        print(gather_parts(parts_of(folder, given), target, given.seed, given.set), flush=True)
        keep_problems(evaluation(plan.split, given.prompts or plan.prompts), target, given.set)
        return
    path = RESULTS / f"seed{given.seed}-{given.set}.parquet"
    also = recorded(getattr(members, SETS[given.set].members)(weights), files_of(given))
    print(f"{gather(parts_of(folder, given), path, also)} outcomes in {path}", flush=True)


def report(given: argparse.Namespace) -> None:
    if given.kind == "parts":
        from bench.frontier.parts.report import write as write_parts

        write_parts(given.seed, RESULTS, Path("docs/results.md"))
        return
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
            "gate",
            "report",
            "search",
            "adopt",
            "embed",
            "sft-rank",
            "rl",
            "evaluate-share",
        ],
    )
    parser.add_argument("--kind", choices=["contest", "parts"], default="contest", help="of problems")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, default=None, help="default: build/frontier/seed=SEED, or parts-seed=SEED there"
    )
    parser.add_argument("--set", choices=sorted(SETS.keys() | PARTS_SETS), default="validation")
    parser.add_argument(
        "--prompts", type=int, default=None, help="of each count of parts; default: the set's own"
    )
    parser.add_argument(
        "--samples", type=int, default=None, help="of each member and problem; default: the set's own"
    )
    parser.add_argument("--rank", type=int, default=0, help="which of the two processes this is")
    parser.add_argument("--endpoint", choices=["low", "high", "lora_low", "lora_high"], default="low")
    given = parser.parse_args()
    begin = "" if given.kind == "contest" else f"{given.kind}-"
    folder = (given.out or Path("build/frontier") / f"{begin}seed={given.seed}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    same = ["--kind", given.kind, "--seed", str(given.seed), "--out", str(folder)]
    began = time.monotonic()
    if given.step in ("all", "sft", "endpoints"):
        train(given, folder, same)
        print(f"{given.step} done in {time.monotonic() - began:.0f} s: {folder}", flush=True)
    elif given.step == "sft-rank":
        sft_step(folder, given)
    elif given.step == "rl":
        endpoint_step(folder, given)
    elif given.step == "gate":
        from bench.frontier.parts.gate import gate

        given.set = "gate"
        evaluate(given, folder, same)
        gate(folder, RESULTS, given.seed)
    elif given.step == "evaluate":
        evaluate(given, folder, same)
        print(f"{given.set} done in {time.monotonic() - began:.0f} s", flush=True)
    elif given.step == "evaluate-share":
        (evaluate_step if given.kind == "contest" else evaluate_parts_step)(folder, given)
    elif given.step == "report":
        report(given)
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
