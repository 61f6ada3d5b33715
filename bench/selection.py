"""What share of the oracle each selector recovers, where the tests are hidden.

    python -m bench.selection --minutes 4 --save      # again until all is done: it goes on where it stopped

The embedded frontier answers its test and validation problems; selectors see the prompt's example, what candidates do
on shared inputs, and log-probabilities. A problem counts where the first candidate of the ranking passes all hidden
tests; the oracle has one where any does; chance is the mean over candidates. What each problem came to is kept in
bench/results/selection.jsonl, so that selectors can be compared on the same candidates.

Members are asked for inputs as `selector: discriminate` asks them. Since the embedded ones write programs and nothing else, each
selector also sees the inputs of hidden tests without their outputs: what it would be worth with inputs as good as those.
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
from alpharay.judge.behaviour import examples, shared_inputs, written_inputs
from alpharay.judge.problem import StdioCase, Tests
from alpharay.router import SELECTORS, Candidate, Draw, Evidence, agreements, contenders, ranked
from alpharay.serve.sampling.discriminate import INPUT_SAMPLES, question
from bench.frontier.members import frontier
from bench.frontier.model import LONGEST as CONTEXT
from bench.frontier.model import Llama
from bench.frontier.sample import LONGEST_ANSWER, sample
from bench.frontier.tokenizer import END_ID, encode_answer, encode_prompt

RESULTS = Path(__file__).parent / "results"
KEPT = RESULTS / "selection.jsonl"
EMBEDDED = Path(__file__).parents[1] / "serve" / "embedded"
# The embedded problems' largest inputs are made to take slow programs long; what counts here is selection.
LIMITS = Limits(cpu_s=0.5)
PROBLEMS = ("problems.jsonl", "problems-validation.jsonl")
ALPHAS = (-0.5, 0.0, 0.5, 1.0, 1.5)
CHOSEN = ("tests", "cluster", "codet", "b4", "discriminate", "logprob")
BY_INPUTS = ("cluster", "codet", "b4", "discriminate")
COUNTS = ("problem", "samples", "asked", "too_long", "written", "discriminating")
WRITER = 1.0  # the alpha that is asked for inputs
MOST_INPUTS = 16


@torch.inference_mode()
def logprob(model: Llama, prompt: list[int], answer: list[int]) -> float:
    """Mean natural log-probability of the answer's tokens and its end."""
    tokens = torch.tensor([[*prompt, *answer, END_ID]])
    logprobs = model(tokens)[0, len(prompt) - 1 : -1].log_softmax(-1)
    return float(logprobs.gather(1, tokens[0, len(prompt) :, None]).mean())


def draw(problems: list[dict], count: int, seed: int) -> list[list[tuple[str, float]]]:
    """Per problem (text, log-probability), `count` in all, the same of every alpha, mixed: `tests` takes the first."""
    tokenizer = Tokenizer.from_file(str(EMBEDDED / "low" / "tokenizer.json"))
    prompts = [encode_prompt(tokenizer, problem["prompt"]) for problem in problems]
    texts: list[list[tuple[str, float]]] = [[] for _ in problems]
    members = frontier(EMBEDDED, ALPHAS)
    for number, member in enumerate(members):
        model = member.load()
        answers = sample(model, prompts, count // len(members), seed=seed + number)
        for index, each in enumerate(answers):
            texts[index] += [(tokenizer.decode(ids), logprob(model, prompts[index], ids)) for ids in each]
    mixing = random.Random(seed)
    for each in texts:
        mixing.shuffle(each)
    return texts


def without_outputs(tests: Tests) -> Tests:
    """The smallest inputs, as a member would write them."""
    small = sorted(
        tests.cases, key=lambda case: len(case.input if isinstance(case, StdioCase) else str(case.args))
    )
    output = "" if isinstance(tests.cases[0], StdioCase) else None
    return replace(tests, cases=tuple(replace(case, output=output) for case in small[:MOST_INPUTS]))


def write_inputs(problem: dict, candidates: list[Candidate], writer: Llama) -> tuple[Tests | None, dict]:
    """What a member writes when it is asked as the server asks, of the two largest groups that differ."""
    tokenizer = Tokenizer.from_file(str(EMBEDDED / "low" / "tokenizer.json"))
    public = examples(problem["prompt"])
    groups: dict[tuple, list[Candidate]] = {}
    for candidate in contenders(candidates):
        groups.setdefault(candidate.evidence.behaviour, []).append(candidate)
    if len(groups) < 2:
        return None, {"asked": 0, "too_long": 0, "written": 0}
    mine, other = (group[0].payload for group in sorted(groups.values(), key=len, reverse=True)[:2])
    prompt = [
        *encode_prompt(tokenizer, problem["prompt"]),
        *encode_answer(tokenizer, mine),
        *encode_prompt(tokenizer, question(other, public, "python")),
    ]
    if len(prompt) + LONGEST_ANSWER > CONTEXT:
        return None, {"asked": INPUT_SAMPLES, "too_long": INPUT_SAMPLES, "written": 0}
    answers = [tokenizer.decode(ids) for ids in sample(writer, [prompt], INPUT_SAMPLES, seed=1)[0]]
    inputs = written_inputs(answers, public, MOST_INPUTS)
    count = 0 if inputs is None else len(inputs.cases)
    return inputs, {"asked": INPUT_SAMPLES, "too_long": 0, "written": count}


async def extended(candidates: list[Candidate], inputs: Tests, pool: JudgePool) -> list[Candidate]:
    """The candidates with what they give for more inputs."""

    async def observed(candidate: Candidate) -> Candidate:
        seen = await pool.judge(inputs, candidate.payload, limits=LIMITS, observe=True, group="more")
        behaviour = candidate.evidence.behaviour + seen.outputs
        return replace(candidate, evidence=replace(candidate.evidence, behaviour=behaviour))

    return list(await asyncio.gather(*map(observed, candidates)))


async def judge(
    problem: dict, texts: list[tuple[str, float]], pool: JudgePool
) -> tuple[list[bool], list[Candidate]]:
    hidden, public = parse_problem(problem).tests, examples(problem["prompt"])
    probes = shared_inputs(public, 12, seed=1)

    async def judged(index: int, text: str, likely: float) -> tuple[bool, Candidate]:
        right = await pool.judge(hidden, text, limits=LIMITS, group="hidden")
        shown = await pool.judge(public, text, limits=LIMITS, group="public")
        seen = await pool.judge(probes, text, limits=LIMITS, observe=True, group="probes")
        evidence = Evidence(behaviour=seen.outputs, logprob=likely)
        made = Candidate(
            draw=Draw(index=index, member="m", sample=index, seed=index),
            verdict=shown,
            evidence=evidence,
            payload=text,
        )
        return right.accepted, made

    done = await asyncio.gather(*(judged(index, *each) for index, each in enumerate(texts)))
    return [right for right, _ in done], [candidate for _, candidate in done]


def chosen_right(right: list[bool], candidates: list[Candidate]) -> dict[str, float]:
    """Whether each selector's first candidate is right; the chance of it for `chance`."""
    rights = {name: float(right[ranked(candidates, name)[0].draw.index]) for name in CHOSEN}
    # `tests` breaks ties by what candidates do; this is what the example alone is worth.
    idle = [replace(candidate, evidence=Evidence()) for candidate in candidates]
    rights["tests, no inputs"] = float(right[ranked(idle, "tests")[0].draw.index])
    blind = [Candidate(draw=candidate.draw, evidence=candidate.evidence) for candidate in candidates]
    for name in ("cluster", "b4", "discriminate", "logprob"):
        rights[f"{name}, no example"] = float(right[ranked(blind, name)[0].draw.index])
    return rights | {"chance": sum(right) / len(right), "oracle": float(any(right))}


async def measure(problems: list[dict], drawn: list[list[tuple[str, float]]], until: float) -> None:
    """Appends what each problem came to, as long as there is time."""
    (member,) = frontier(EMBEDDED, (WRITER,))
    writer = member.load()
    async with JudgePool(2) as pool:
        for problem, texts in zip(problems, drawn, strict=True):
            if time.monotonic() > until:
                return
            right, candidates = await judge(problem, texts, pool)
            inputs, counts = write_inputs(problem, candidates, writer)
            written = candidates if inputs is None else await extended(candidates, inputs, pool)
            columns = agreements(
                [candidate.evidence.behaviour for candidate in contenders(written)]
            ).discriminating
            first = len(candidates[0].evidence.behaviour)
            row = {"problem": problem["id"], "samples": len(texts), **counts}
            row |= {"discriminating": sum(column >= first for column in columns)}
            row |= chosen_right(right, candidates)
            row["discriminate, written inputs"] = float(right[ranked(written, "discriminate")[0].draw.index])
            ideal = await extended(candidates, without_outputs(parse_problem(problem).tests), pool)
            for name in BY_INPUTS:
                row[f"{name}, hidden inputs"] = float(right[ranked(ideal, name)[0].draw.index])
                blind = [Candidate(draw=candidate.draw, evidence=candidate.evidence) for candidate in ideal]
                row[f"{name}, hidden inputs, no example"] = float(right[ranked(blind, name)[0].draw.index])
            with KEPT.open("a") as file:
                file.write(json.dumps(row) + "\n")


def kept() -> list[dict]:
    """The rows of the file. Those from before inputs were asked for are left out, and measured again."""
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    return [row for row in map(json.loads, lines) if "asked" in row]


def written(rows: list[dict]) -> str:
    """Shares of the oracle with bootstrap intervals over problems; differences from `tests` on the same problems."""
    names = [name for name in rows[0] if name not in COUNTS]
    table = np.array([[row[name] for name in names] for row in rows])
    picked = np.random.default_rng(0).integers(0, len(rows), (4000, len(rows)))
    sums = table[picked].sum(axis=1)  # [resamples, selectors]
    shares = sums / sums[:, [names.index("oracle")]]
    base = names.index("tests")
    lines = []
    for index in np.argsort(-table.sum(axis=0), kind="stable"):
        share = table[:, index].sum() / table[:, names.index("oracle")].sum()
        low, high = np.percentile(shares[:, index], [2.5, 97.5])
        apart = 100 * (table[:, index] - table[:, base]).mean()
        spread = 100 * np.percentile((sums[:, index] - sums[:, base]) / len(rows), [2.5, 97.5])
        lines.append(
            f"| {names[index]} | {table[:, index].sum():.1f} | {share:.0%} [{low:.0%}, {high:.0%}] "
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
            "same choice. `no inputs`: the first drawn that passes the example. `hidden inputs`: those of the hidden tests, without their",
            f"outputs, at most {MOST_INPUTS}, beside the shared ones: as if members wrote inputs as good as those.",
            "",
            f"Inputs of members: {sum(row['asked'] for row in rows)} samples were asked for them, {sum(row['too_long'] for row in rows)} of",
            f"them for more than the model takes; {sum(row['written'] for row in rows)} inputs could be read,",
            f"{sum(row['discriminating'] for row in rows)} discriminated. The embedded models were trained to write programs alone.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=15, help="of each problem, over all alphas")
    parser.add_argument("--minutes", type=float, default=4.0, help="after which no further problem is begun")
    parser.add_argument("--together", type=int, default=24, help="problems that are drawn in one go")
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
    done = {row["problem"] for row in kept()}
    left = [problem for problem in problems if problem["id"] not in done]
    for start in range(0, len(left), arguments.together):
        if time.monotonic() > until:
            break
        part = left[start : start + arguments.together]
        asyncio.run(measure(part, draw(part, arguments.samples, arguments.seed + len(done) + start), until))
    rows = kept()
    print(written(rows))
    print(f"{len(rows)} of {len(problems)} problems are done")
    if arguments.save:
        (RESULTS / "selection.md").write_text(written(rows))


if __name__ == "__main__":
    main()
