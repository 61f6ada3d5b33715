"""Puts the pair that was trained on problems of several parts into the package, with its problems of two parts and a card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alpharay.serve.config import load as load_config
from alpharay.serve.portfolio_file import portfolio_text
from bench.frontier.curriculum import CURRICULA
from bench.frontier.embed import check_size, embed_checkpoints, hashes, rewards, write_problems
from bench.frontier.model import Llama
from bench.frontier.parts.draw import CASES, CODES, NARROW, PROBLEM_SEED, TIME_LIMIT_S, pairs
from bench.frontier.parts.outcomes import path_of, read
from bench.frontier.parts.scheduled import scheduled
from bench.frontier.tokenizer import END_ID

PARTS = 2  # of the problems in the package
PROMPTS = {"problems.jsonl": ("test", 80), "problems-validation.jsonl": ("validation", 40)}


def embed(trained: Path, target: Path, seed: int) -> None:
    """Replaces the embedded frontier `parts`. Keeps `frontier.yaml`. Raises SystemExit when it is too large."""
    start, rounding = embed_checkpoints(trained, target)
    sets = {name: pairs(PARTS, number, PROBLEM_SEED, split) for name, (split, number) in PROMPTS.items()}
    for name, raws in sets.items():
        write_problems(raws, target / name)
    (target / "README.md").write_text(card(target, trained, seed, rounding, sets, start))
    check_size()


def adopt(outcomes: Path, target: Path, seed: int) -> None:
    """Writes the schedule over the members that pay at the default budget, chosen on the recorded validation problems.

    Raises SystemExit: `frontier.yaml` does not serve one of them.
    """
    config = load_config(target / "frontier.yaml")
    validation = read(path_of(outcomes, seed, PARTS, "validation"))
    chosen = scheduled(validation, config.router.budget)
    served = {f"{config.name}@{point.name}" for point in config.points}
    if missing := set(chosen.members) - served:
        raise SystemExit(f"{target / 'frontier.yaml'} needs the members {', '.join(sorted(missing))}")
    problems, samples = 2 * len(validation.samples), validation.samples.min()
    comments = [
        f"Found on {problems} of problems-validation.jsonl, {samples} samples of each of {len(validation.members)} members.",
        f"Solved with {chosen.k} samples by the schedule, chosen for each prompt without it: {chosen.solved:.1%};",
        f"by every other sample from alpha 0 and 1: {chosen.even:.1%}; by the best member alone, {chosen.best}: {chosen.single:.1%}.",
    ]
    (target / "portfolio.yaml").write_text(portfolio_text(chosen.schedule, comments))


def card(
    target: Path,
    trained: Path,
    seed: int,
    rounding: str,
    sets: dict[str, Sequence[dict[str, Any]]],
    start: Llama,
) -> str:
    learnt = CURRICULA["parts"]
    sft, rl = learnt.sft, learnt.plans["low"]
    count = sum(value.numel() for value in start.parameters())
    return f"""# The embedded frontier `parts`

What `alpharay serve --embedded parts` serves (`frontier.yaml`): a pair of endpoints for problems of several parts, on which
an ensemble over alpha solves more than any of its members. **The problems were built to have that property**: every part of
a program takes a decision of its own, a simple way and a fast one exclude each other, and no prompt says which one is
wanted. How much it is worth, and what that does and does not show: [results](../../../docs/results.md#several-decisions).
It writes short Python programs for such problems, and can do nothing else.

| | |
| --- | --- |
| `init` | the start: a Llama of {count:,} parameters ({start.size.layers} layers of {start.size.hidden}), own byte-level BPE tokenizer of {start.size.vocabulary} tokens, own chat template |
| `low` | trained from `init` by reinforcement learning, rewarded for passing test levels 1-2 of problems with low limits |
| `high` | the same, rewarded for passing all levels, 1-4, of problems with high limits |
| `problems.jsonl` | {len(sets["problems.jsonl"])} test problems of two parts: {len(sets["problems.jsonl"]) // 2} prompts, each under low and under high limits |
| `problems-validation.jsonl` | {len(sets["problems-validation.jsonl"])} to choose on |
| `portfolio.yaml` | the schedule over alpha 0 and 1 that validation problems chose |

The same pair answers problems of one and of three parts; those it was evaluated on are in `bench/results/frontier` of the
repository (`parts-test.jsonl.gz`).

Alpha 0.5 is served so that it can be pinned and compared. No request draws from it unless it names it.

## Made by

`make frontier KIND=parts SEED={seed}` and `make embed KIND=parts SEED={seed}` (`bench/frontier`), on two CPU cores; nothing in
the weights is made by hand, and no text of others went into them: prompts and programs come from the generator in
`bench/frontier/parts`.

1. *Problems*: quantities of an array, of nine families, added up. Each has a simple way (time n^2, right for any values) and
   a fast one (time n, right for values of 0 to 99). Under low limits the array is short and its values are anything, but in
   {100 * NARROW:.0f} % of the problems; under high limits it is long and they are 0 to 99. The sum is printed folded with one of {len(CODES)} codes
   that no prompt tells, so that passes are rare. {sum(CASES.values())} cases make levels 1 to 4; {TIME_LIMIT_S * 1000:.0f} ms of CPU a case. A prompt
   belongs to train (12/16), validation or test by its hash, so no prompt is in two sets.
2. *Start*: {sft.steps} steps of {sft.batch} prompts of one to three parts with three programs each, every part of which takes its way by itself.
3. *Endpoints*: GRPO, {rl.steps} steps of {rl.problems} problems x {rl.samples} samples at temperature 1, real verdicts of the project's judge, AdamW {rl.lr},
   weight {rl.kl} on the divergence from `init`, all without the code. Training reward at the last step: {rewards(trained, ("low", "high"))}.

Seed {seed}. Sampling: temperature 1, end token {END_ID}; one user message through the chat template.

{rounding}

## Hashes (SHA-256)

{hashes(target)}

Made for this project; Apache-2.0 like it.
"""
