"""The steps after training for problems of several parts: each count of parts is sampled and recorded by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from bench.frontier import members
from bench.frontier.evaluate import evaluate
from bench.frontier.parts.draw import PROBLEM_SEED, evaluation, pairs
from bench.frontier.parts.embed import adopt, embed
from bench.frontier.parts.gate import NAMES, gate
from bench.frontier.parts.outcomes import best_off_the_line, gather_parts, keep_problems
from bench.frontier.parts.report import write
from bench.frontier.steps import PAGE, RESULTS, SHARES, Options

EMBEDDED = Path("serve/embedded/parts")
TOGETHER = 8  # problems that are sampled together


@dataclass(frozen=True, slots=True)
class Sampling:
    """`prompts` of each count of parts, two problems each."""

    split: str
    prompts: int
    samples: int


SETS = {
    "gate": Sampling("validation", 40, 50),
    "validation": Sampling("validation", 40, 300),
    "test": Sampling("test", 80, 300),
}


class Parts:
    prefix = "parts-"
    sets = SETS

    def check(self, options: Options) -> None:
        options.weights(EMBEDDED)

    def sample(self, options: Options) -> None:
        weights = options.weights(EMBEDDED)
        tokenizer = Tokenizer.from_file(str(weights / "init" / "tokenizer.json"))
        for count in options.parts:
            evaluate(
                _problems(options, count),
                members.points(weights, _points(options, count)),
                options.samples or SETS[options.set].samples,
                seed=f"{options.seed}/{count}",
                tokenizer=tokenizer,
                out=_drawn(options, count),
                share=(options.rank, SHARES),
                size=TOGETHER,
            )

    def gather(self, options: Options) -> None:
        plan, target = SETS[options.set], options.folder if options.set == "gate" else RESULTS
        for count in options.parts:
            print(gather_parts(_drawn(options, count), target, options.seed, count, options.set), flush=True)
        keep_problems(evaluation(plan.split, options.prompts or plan.prompts), target, options.set)
        if options.set == "gate":
            gate(options.weights(EMBEDDED), options.folder, RESULTS, options.seed)

    def report(self, seed: int) -> None:
        write(seed, RESULTS, PAGE)

    def search(self, options: Options) -> None:
        del options
        raise SystemExit(
            "members of this kind are chosen among those of `evaluate --set validation`: `adopt` does it"
        )

    def adopt(self, options: Options) -> None:
        adopt(RESULTS, EMBEDDED, options.seed)

    def embed(self, options: Options) -> None:
        embed(options.folder, EMBEDDED, options.seed)


def _problems(options: Options, count: int) -> list[dict[str, Any]]:
    plan = SETS[options.set]
    return pairs(count, options.prompts or plan.prompts, PROBLEM_SEED, plan.split)


def _points(options: Options, count: int) -> dict[str, dict[str, float]]:
    """The members that are sampled: of points off the line, the test set has the one that is best on validation."""
    if options.set == "gate":
        return {name: members.PARTS_SINGLES[name] for name in NAMES}
    if options.set == "validation":
        return members.PARTS_SINGLES | members.PARTS_PLANE
    name = best_off_the_line(RESULTS, options.seed, count, list(members.PARTS_PLANE))
    return members.PARTS_SINGLES | {name: members.PARTS_PLANE[name]}


def _drawn(options: Options, count: int) -> Path:
    """Where shares are written. Those of another number of samples are not gone on with."""
    return options.folder / f"parts{count}-{options.set}-{options.samples or SETS[options.set].samples}"
