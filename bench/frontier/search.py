"""`alpharay search` over the trained checkpoints, with the trainer's sampler in place of the engines.

    python -m bench.frontier search --seed 1

The same search, schedule and report, from the same validation problems: what differs is who draws the samples. The
sampler computes samples that have written the same so far once, which makes it some ten times as fast as an engine on
two cores; so the members that come with the package could be found from many samples.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from alpharay.judge import parse_problem
from alpharay.router.search.halving import Draw, Search, SearchPlan, Subject
from alpharay.router.search.nested import measured
from alpharay.router.search.points import checkpoint, lattice
from alpharay.serve.config import Config
from alpharay.serve.evaluate.search.picture import draw
from alpharay.serve.evaluate.search.report import PICTURE, lines, write_report
from alpharay.serve.evaluate.search.rounds import Searched
from bench.frontier.members import in_span
from bench.frontier.sample import sample
from bench.frontier.tokenizer import encode_prompt
from bench.frontier.verdicts import Judge, covered

NAMES = ("init", "low", "high")
BUDGETS = (1, 2, 5, 10, 20, 50, 100)
TOTAL = 200_000
MEMBERS = 6
BATCH = 8  # problems that are sampled together


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`count` more samples of one point on a few problems, after the `begun` that it has."""

    weights: tuple[tuple[str, float], ...]
    problems: tuple[int, ...]
    begun: int
    count: int


@dataclass(slots=True)
class _Worker:
    """What each process keeps."""

    weights: Path
    raws: Sequence[dict[str, Any]]
    tokenizer: Tokenizer
    judge: Judge


_WORKER: list[_Worker] = []  # one, in each process of the pool


def _begin(weights: Path, raws: Sequence[dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    judge = Judge()
    judge.__enter__()
    tokenizer = Tokenizer.from_file(str(weights / "init" / "tokenizer.json"))
    _WORKER.append(_Worker(weights, raws, tokenizer, judge))


def _solved(task: Task) -> list[list[bool]]:
    """[problems, samples]"""
    worker = _WORKER[0]
    model = in_span(worker.weights, dict(task.weights))
    raws = [worker.raws[problem] for problem in task.problems]
    prompts = [encode_prompt(worker.tokenizer, raw["prompt"]) for raw in raws]
    seed = random.Random(repr(task)).getrandbits(40)
    answers = sample(model, prompts, task.count, seed=seed)
    coverages = [covered(raw, 4) for raw in raws]
    candidates = [
        (coverage, worker.tokenizer.decode(ids))
        for coverage, each in zip(coverages, answers, strict=True)
        for ids in each
    ]
    verdicts = [str(verdict.verdict) == "accepted" for verdict in worker.judge.verdicts(candidates)]
    return [verdicts[at : at + task.count] for at in range(0, len(verdicts), task.count)]


def run(weights: Path, problems: Path, out: Path, seed: int) -> None:
    """Writes what `alpharay search` writes to `out`."""
    raws = [json.loads(line) for line in problems.read_text().splitlines()]
    plan = SearchPlan(
        points=lattice(len(NAMES)),
        problems=len(raws),
        budgets=BUDGETS,
        total=TOTAL,
        kept=tuple(checkpoint(number, len(NAMES)) for number in range(len(NAMES))),
        seed=seed,
        finalists=MEMBERS,
    )
    checkpoints = {name: weights / name for name in NAMES}
    searched = Searched(
        config=Config(checkpoints=checkpoints, members=(0.5,)),
        plan=plan,
        names=NAMES,
        checkpoints=checkpoints,
        problems=[parse_problem(raw) for raw in raws],
        problems_file=problems,
        folder=out,
    )
    out.mkdir(parents=True, exist_ok=True)
    search = Search(plan)
    with ProcessPoolExecutor(2, initializer=_begin, initargs=(weights, raws)) as pool:
        while draws := search.draws():
            tasks = list(_tasks(draws, search))
            print(f"{len(draws)} samples of {len({draw.subject for draw in draws})} points", flush=True)
            for (subject, task), solved in zip(
                tasks, pool.map(_solved, [task for _, task in tasks]), strict=True
            ):
                for problem, each in zip(task.problems, solved, strict=True):
                    for number, passed in enumerate(each):
                        search.tell(Draw(subject, problem, task.begun + number), passed)
    result = measured(search)
    write_report(searched, search, result, out)
    draw(searched, search, result, out / PICTURE)
    print("\n".join(lines(searched, result)))


def _tasks(draws: Sequence[Draw], search: Search) -> Iterable[tuple[Subject, Task]]:
    """The draws of a round: of each point the same samples of every problem."""
    samples: dict[Subject, set[int]] = {}
    for each in draws:
        samples.setdefault(each.subject, set()).add(each.sample)
    for subject, numbers in samples.items():
        assert isinstance(subject, tuple)
        weights = tuple((name, weight) for name, weight in zip(NAMES, subject, strict=True) if weight)
        for at in range(0, search.plan.problems, BATCH):
            problems = tuple(range(at, min(at + BATCH, search.plan.problems)))
            yield subject, Task(weights=weights, problems=problems, begun=min(numbers), count=len(numbers))
