"""What share of the oracle each selector recovers, where the tests are hidden.

    python -m bench.selection --problems 16 --samples 10 --out bench/results/selection.md

The embedded frontier answers its test problems; selectors see the prompt's example, what candidates do on shared
inputs, and log-probabilities. A problem counts where the first candidate of the ranking passes all hidden tests; the
oracle has one where any does; chance is the mean over candidates.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer

from alpharay.judge import JudgePool, Limits, parse_problem
from alpharay.judge.behaviour import examples, shared_inputs
from alpharay.router import SELECTORS, Candidate, Draw, Evidence, ranked
from bench.frontier.members import frontier
from bench.frontier.model import Llama
from bench.frontier.sample import sample
from bench.frontier.tokenizer import END_ID, encode_prompt

EMBEDDED = Path(__file__).parents[1] / "serve" / "embedded"
# The embedded problems' largest inputs are made to take slow programs long; what counts here is selection.
LIMITS = Limits(cpu_s=0.5)
CHOSEN = ("tests", "cluster", "codet", "b4", "logprob")


@torch.inference_mode()
def logprob(model: Llama, prompt: list[int], answer: list[int]) -> float:
    """Mean natural log-probability of the answer's tokens and its end."""
    tokens = torch.tensor([[*prompt, *answer, END_ID]])
    told = model(tokens)[0, len(prompt) - 1 : -1].log_softmax(-1)
    return float(told.gather(1, tokens[0, len(prompt) :, None]).mean())


def draw(problems: list[dict], count: int, seed: int) -> list[list[tuple[str, float]]]:
    """Per problem (text, log-probability), `count` in all from the two endpoints and between."""
    tokenizer = Tokenizer.from_file(str(EMBEDDED / "low" / "tokenizer.json"))
    prompts = [encode_prompt(tokenizer, problem["prompt"]) for problem in problems]
    found: list[list[tuple[str, float]]] = [[] for _ in problems]
    members = frontier(EMBEDDED, (0.0, 1.0))
    for number, member in enumerate(members):
        model = member.load()
        answers = sample(model, prompts, count // len(members), seed=seed + number)
        for place, each in enumerate(answers):
            found[place] += [(tokenizer.decode(ids), logprob(model, prompts[place], ids)) for ids in each]
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


async def measure(problems: list[dict], drawn: list[list[tuple[str, float]]]) -> dict[str, float]:
    solved = dict.fromkeys([*CHOSEN, "without example", "chance", "oracle"], 0.0)
    async with JudgePool(2) as pool:
        for problem, texts in zip(problems, drawn, strict=True):
            right, candidates = await judge(problem, texts, pool)
            solved["oracle"] += any(right)
            solved["chance"] += sum(right) / len(right)
            for name in CHOSEN:
                solved[name] += right[ranked(candidates, name)[0].draw.index]
            blind = [Candidate(draw=one.draw, evidence=one.evidence) for one in candidates]
            solved["without example"] += right[ranked(blind, "b4")[0].draw.index]
    return solved


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=16)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    assert set(CHOSEN) <= set(SELECTORS)
    torch.set_num_threads(1)
    lines = (EMBEDDED / "problems.jsonl").read_text().splitlines()
    random.Random(arguments.seed).shuffle(lines)
    problems = [json.loads(line) for line in lines[: arguments.problems]]
    drawn = draw(problems, arguments.samples, arguments.seed)
    solved = asyncio.run(measure(problems, drawn))
    rows = [
        f"| {name} | {count:.1f} | {count / max(1, solved['oracle']):.0%} |"
        for name, count in sorted(solved.items(), key=lambda pair: -pair[1])
    ]
    text = "\n".join(
        [
            "# What selectors find where the tests are hidden",
            "",
            f"{len(problems)} embedded test problems, {arguments.samples} samples each from alpha 0 and 1.",
            "",
            "| selector | problems solved | of the oracle |",
            "| --- | --- | --- |",
            *rows,
            "",
            "`without example`: `b4` without the prompt's example as a test. So few problems tell the selectors from chance, not from each other.",
            "",
        ]
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
