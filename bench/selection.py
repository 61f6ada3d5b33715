"""What share of the oracle each selector recovers, where the tests are hidden.

    python -m bench.selection --minutes 4 --save      # again until all is done: it goes on where it stopped

The embedded frontier answers its test and validation problems; selectors see the prompt's example, what candidates do
on shared inputs, and log-probabilities. A problem counts where the first candidate of the ranking passes all hidden
tests; the oracle has one where any does; chance is the mean over candidates. What each problem came to is kept in
bench/results/selection.jsonl, so that selectors can be compared on the same candidates.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from alpharay.judge import JudgePool, Limits, parse_problem
from alpharay.judge.behaviour import examples, shared_inputs
from alpharay.router import SELECTORS, Candidate, Draw, Evidence, ranked
from bench.frontier.members import frontier
from bench.frontier.model import Llama
from bench.frontier.sample import sample
from bench.frontier.tokenizer import END_ID, encode_prompt

RESULTS = Path(__file__).parent / "results"
KEPT = RESULTS / "selection.jsonl"
EMBEDDED = Path(__file__).parents[1] / "serve" / "embedded"
# The embedded problems' largest inputs are made to take slow programs long; what counts here is selection.
LIMITS = Limits(cpu_s=0.5)
PROBLEMS = ("problems.jsonl", "problems-validation.jsonl")
ALPHAS = (-0.5, 0.0, 0.5, 1.0, 1.5)
CHOSEN = ("tests", "cluster", "codet", "b4", "logprob")


@torch.inference_mode()
def logprob(model: Llama, prompt: list[int], answer: list[int]) -> float:
    """Mean natural log-probability of the answer's tokens and its end."""
    tokens = torch.tensor([[*prompt, *answer, END_ID]])
    told = model(tokens)[0, len(prompt) - 1 : -1].log_softmax(-1)
    return float(told.gather(1, tokens[0, len(prompt) :, None]).mean())


def draw(problems: list[dict], count: int, seed: int) -> list[list[tuple[str, float]]]:
    """Per problem (text, log-probability), `count` in all, the same of every alpha, mixed: `tests` takes the first."""
    tokenizer = Tokenizer.from_file(str(EMBEDDED / "low" / "tokenizer.json"))
    prompts = [encode_prompt(tokenizer, problem["prompt"]) for problem in problems]
    found: list[list[tuple[str, float]]] = [[] for _ in problems]
    members = frontier(EMBEDDED, ALPHAS)
    for number, member in enumerate(members):
        model = member.load()
        answers = sample(model, prompts, count // len(members), seed=seed + number)
        for place, each in enumerate(answers):
            found[place] += [(tokenizer.decode(ids), logprob(model, prompts[place], ids)) for ids in each]
    mixing = random.Random(seed)
    for each in found:
        mixing.shuffle(each)
    return found


async def judge(
    problem: dict, texts: list[tuple[str, float]], pool: JudgePool
) -> tuple[list[bool], list[Candidate]]:
    hidden, public = parse_problem(problem).tests, examples(problem["prompt"])
    probes = shared_inputs(public, 12, seed=1)

    async def one(place: int, text: str, likely: float) -> tuple[bool, Candidate]:
        right = await pool.judge(hidden, text, limits=LIMITS, group="hidden")
        shown = await pool.judge(public, text, limits=LIMITS, group="public")
        seen = await pool.judge(probes, text, limits=LIMITS, observe=True, group="probes")
        evidence = Evidence(behaviour=seen.outputs, logprob=likely)
        made = Candidate(
            draw=Draw(index=place, member="m", sample=place, seed=place), verdict=shown, evidence=evidence
        )
        return right.accepted, made

    done = await asyncio.gather(*(one(place, *each) for place, each in enumerate(texts)))
    return [right for right, _ in done], [candidate for _, candidate in done]


def chosen_right(right: list[bool], candidates: list[Candidate]) -> dict[str, float]:
    """Whether each selector's first candidate is right; the chance of it for `chance`."""
    found = {name: float(right[ranked(candidates, name)[0].draw.index]) for name in CHOSEN}
    # `tests` breaks ties by what candidates do; this is what the example alone is worth.
    idle = [replace(one, evidence=Evidence()) for one in candidates]
    found["tests, no inputs"] = float(right[ranked(idle, "tests")[0].draw.index])
    blind = [Candidate(draw=one.draw, evidence=one.evidence) for one in candidates]
    for name in ("cluster", "b4", "logprob"):
        found[f"{name}, no example"] = float(right[ranked(blind, name)[0].draw.index])
    return found | {"chance": sum(right) / len(right), "oracle": float(any(right))}


async def measure(problems: list[dict], drawn: list[list[tuple[str, float]]], until: float) -> None:
    """Appends what each problem came to, as long as there is time."""
    async with JudgePool(2) as pool:
        for problem, texts in zip(problems, drawn, strict=True):
            if time.monotonic() > until:
                return
            right, candidates = await judge(problem, texts, pool)
            row = {"problem": problem["id"], "samples": len(texts), **chosen_right(right, candidates)}
            with KEPT.open("a") as file:
                file.write(json.dumps(row) + "\n")


def written(rows: list[dict]) -> str:
    """Shares of the oracle with bootstrap intervals over problems; differences from `tests` on the same problems."""
    names = [name for name in rows[0] if name not in ("problem", "samples")]
    table = np.array([[row[name] for name in names] for row in rows])
    picked = np.random.default_rng(0).integers(0, len(rows), (4000, len(rows)))
    sums = table[picked].sum(axis=1)  # [resamples, selectors]
    shares = sums / sums[:, [names.index("oracle")]]
    base = names.index("tests")
    lines = []
    for place in np.argsort(-table.sum(axis=0), kind="stable"):
        share = table[:, place].sum() / table[:, names.index("oracle")].sum()
        low, high = np.percentile(shares[:, place], [2.5, 97.5])
        apart = 100 * (table[:, place] - table[:, base]).mean()
        spread = 100 * np.percentile((sums[:, place] - sums[:, base]) / len(rows), [2.5, 97.5])
        lines.append(
            f"| {names[place]} | {table[:, place].sum():.1f} | {share:.0%} [{low:.0%}, {high:.0%}] "
            f"| {apart:+.1f} [{spread[0]:+.1f}, {spread[1]:+.1f}] |"
        )
    return "\n".join(
        [
            "# What selectors find where the tests are hidden",
            "",
            f"{len(rows)} embedded test and validation problems whose prompt shows an example, {rows[0]['samples']} samples each,",
            f"equally from alpha {', '.join(f'{alpha:g}' for alpha in ALPHAS)}. Intervals: 95 %, bootstrap over problems.",
            "",
            "| selector | problems solved | share of the oracle | points against `tests` |",
            "| --- | --- | --- | --- |",
            *lines,
            "",
            "All but those of `no example` see the prompt's example as a public test. `tests` takes of those that pass it one of",
            "the largest group that does the same on shared inputs; with one example `cluster`, `codet` and `b4` come to the",
            "same choice. `no inputs`: the first drawn that passes the example.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=15, help="of each problem, over all alphas")
    parser.add_argument("--minutes", type=float, default=4.0, help="after which no further problem is begun")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    assert set(CHOSEN) <= set(SELECTORS)
    torch.set_num_threads(1)
    lines = [line for file in PROBLEMS for line in (EMBEDDED / file).read_text().splitlines()]
    random.Random(arguments.seed).shuffle(lines)
    problems = [json.loads(line) for line in lines]
    problems = [problem for problem in problems if examples(problem["prompt"]) is not None]
    before = KEPT.read_text().splitlines() if KEPT.exists() else []
    done = {json.loads(line)["problem"] for line in before}
    left = [problem for problem in problems if problem["id"] not in done]
    for start in range(0, len(left), 24):
        if time.monotonic() > until:
            break
        part = left[start : start + 24]
        asyncio.run(measure(part, draw(part, arguments.samples, arguments.seed + len(done) + start), until))
    rows = [json.loads(line) for line in KEPT.read_text().splitlines()]
    print(written(rows))
    print(f"{len(rows)} of {len(problems)} problems are done")
    if arguments.save:
        (RESULTS / "selection.md").write_text(written(rows))


if __name__ == "__main__":
    main()
