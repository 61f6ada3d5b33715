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
from bench.frontier.steps import PAGE, RESULTS, SHARES, Asked

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

    def check(self, asked: Asked) -> None:
        asked.weights(EMBEDDED)

    def sample(self, asked: Asked) -> None:
        weights = asked.weights(EMBEDDED)
        tokenizer = Tokenizer.from_file(str(weights / "init" / "tokenizer.json"))
        for count in asked.parts:
            evaluate(
                _problems(asked, count),
                members.points(weights, _points(asked, count)),
                asked.samples or SETS[asked.set].samples,
                seed=f"{asked.seed}/{count}",
                tokenizer=tokenizer,
                out=_drawn(asked, count),
                share=(asked.rank, SHARES),
                size=TOGETHER,
            )

    def gather(self, asked: Asked) -> None:
        plan, target = SETS[asked.set], asked.folder if asked.set == "gate" else RESULTS
        for count in asked.parts:
            print(gather_parts(_drawn(asked, count), target, asked.seed, count, asked.set), flush=True)
        keep_problems(evaluation(plan.split, asked.prompts or plan.prompts), target, asked.set)
        if asked.set == "gate":
            gate(asked.weights(EMBEDDED), asked.folder, RESULTS, asked.seed)

    def report(self, seed: int) -> None:
        write(seed, RESULTS, PAGE)

    def search(self, asked: Asked) -> None:
        del asked
        raise SystemExit(
            "members of this kind are chosen among those of `evaluate --set validation`: `adopt` does it"
        )

    def adopt(self, asked: Asked) -> None:
        adopt(RESULTS, EMBEDDED, asked.seed)

    def embed(self, asked: Asked) -> None:
        embed(asked.folder, EMBEDDED, asked.seed)


def _problems(asked: Asked, count: int) -> list[dict[str, Any]]:
    plan = SETS[asked.set]
    return pairs(count, asked.prompts or plan.prompts, PROBLEM_SEED, plan.split)


def _points(asked: Asked, count: int) -> dict[str, dict[str, float]]:
    """The members that are sampled: of points off the line, the test set has the one that is best on validation."""
    if asked.set == "gate":
        return {name: members.PARTS_SINGLES[name] for name in NAMES}
    if asked.set == "validation":
        return members.PARTS_SINGLES | members.PARTS_PLANE
    name = best_off_the_line(RESULTS, asked.seed, count, list(members.PARTS_PLANE))
    return members.PARTS_SINGLES | {name: members.PARTS_PLANE[name]}


def _drawn(asked: Asked, count: int) -> Path:
    """Where shares are written. Those of another number of samples are not gone on with."""
    return asked.folder / f"parts{count}-{asked.set}-{asked.samples or SETS[asked.set].samples}"
