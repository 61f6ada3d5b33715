"""What a frontier is trained on: `contest`, the one that is embedded, or `parts`, whose programs take several decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.frontier import examples
from bench.frontier.grpo import COVERAGE, LORA, TRAIN_PER_FAMILY, Grpo
from bench.frontier.model import Size
from bench.frontier.parts import draw as parts
from bench.frontier.problems.draw import FAMILIES, problems
from bench.frontier.sft import Sft
from bench.frontier.verdicts import Coverage, covered

PARTS_PROMPTS = 200  # of each count of parts that reinforcement learning draws from


@dataclass(frozen=True, slots=True, kw_only=True)
class Curriculum:
    """example: (seed, number) -> a prompt with programs to imitate. pool: (endpoint, seed) -> what its reward is for.

    fast: of a program, (decisions for the fast way, decisions). plans: of each endpoint, trained in this order.
    """

    name: str
    size: Size
    example: Callable[[int, int], tuple[str, list[str]]]
    sft: Sft
    plans: dict[str, Grpo]
    pool: Callable[[str, int], list[Coverage]]
    fast: Callable[[str], tuple[int, int]]


def _contest_pool(endpoint: str, seed: int) -> list[Coverage]:
    coverage = COVERAGE[endpoint.removeprefix("lora_")]
    return [covered(raw, coverage) for raw in problems(list(FAMILIES), TRAIN_PER_FAMILY, seed, "train")]


def _parts_pool(endpoint: str, seed: int) -> list[Coverage]:
    """`low` is rewarded for levels 1-2 under low limits, `high` for all levels under high limits."""
    drawn: list[dict[str, Any]] = []
    for count in parts.COUNTS:
        drawn += parts.pairs(count, PARTS_PROMPTS, seed, "train", folded=False)
    return [covered(raw, COVERAGE[endpoint]) for raw in drawn if raw["large"] == (endpoint == "high")]


CURRICULA = {
    each.name: each
    for each in (
        Curriculum(
            name="contest",
            size=Size(),
            example=examples.example,
            sft=Sft(),
            plans={"low": Grpo(), "high": Grpo(), "lora_low": LORA, "lora_high": LORA},
            pool=_contest_pool,
            fast=lambda program: (int(program.startswith("# fast")), 1),
        ),
        Curriculum(
            name="parts",
            size=Size(vocabulary=1088, hidden=96, inner=256, layers=3),
            example=parts.example,
            sft=Sft(steps=240, batch=32),
            plans={"low": Grpo(), "high": Grpo()},
            pool=_parts_pool,
            fast=parts.fast_parts,
        ),
    )
}
CONTEST = CURRICULA["contest"]
