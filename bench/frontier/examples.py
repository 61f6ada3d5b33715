"""Prompts with programs to learn from: right, slow and subtly wrong ones, so that the start is uncertain."""

from __future__ import annotations

import random

from bench.frontier.problems.draw import FAMILIES, Sketch, sketch_for

# How often a choice point is right in a program to imitate.
RIGHT_SIMPLE, RIGHT_FAST, RIGHT_FAST_HARD = 0.94, 0.86, 0.68
FAST_SHARE = 0.5
ANSWERS = 3  # programs for one prompt: that there is more than one way is what shall be learnt


def example(seed: int, number: int) -> tuple[str, list[str]]:
    """The number-th prompt of that seed with programs for it, of a family drawn at random."""
    rng = random.Random(f"example/{seed}/{number}")
    family = list(FAMILIES)[rng.randrange(len(FAMILIES))]
    drawn = sketch_for("train", family, f"example/{seed}/{number}")
    return drawn.prompt, [imitation(drawn, rng) for _ in range(ANSWERS)]


def imitation(drawn: Sketch, rng: random.Random) -> str:
    if rng.random() >= FAST_SHARE:
        return drawn.program("simple", rng, RIGHT_SIMPLE)
    return drawn.program("fast", rng, RIGHT_FAST_HARD if drawn.draft.hard else RIGHT_FAST)
