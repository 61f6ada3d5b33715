"""`alpharay search` over the trained checkpoints, with the trainer's sampler in place of the engines.

    python -m bench.frontier search --seed 1

The same search, schedule and report, from the same validation problems: what differs is who draws the samples. The
sampler computes samples that have written the same so far once, which makes it some ten times as fast as an engine on
two cores; so the members that come with the package could be found from many samples. Started again it draws nothing
twice. `counts.parquet` has the samples of each point and problem, and how many passed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
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
from alpharay.serve.span import AdapterCheckpoint
from bench.frontier.members import in_span
from bench.frontier.sample import sample
from bench.frontier.tokenizer import encode_prompt
from bench.frontier.verdicts import Judge, covered

NAMES = ("init", "low", "high", "lora_high")
BUDGETS = (1, 2, 5, 10, 20, 50, 100)
TOTAL = 200_000
MEMBERS = 6
BATCH = 8  # problems that are sampled together
JOURNAL = "tasks.jsonl"  # what was drawn, a line for each task
COUNTS = "counts.parquet"


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
    checkpoints = {
        name: AdapterCheckpoint(adapter=weights / name, base="init")
        if name.startswith("lora_")
        else weights / name
        for name in NAMES
    }
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
    drawn = _drawn(out / JOURNAL)
    with (
        ProcessPoolExecutor(2, initializer=_begin, initargs=(weights, raws)) as pool,
        (out / JOURNAL).open("a") as journal,
    ):
        while draws := search.draws():
            tasks = list(_tasks(draws, search))
            print(f"{len(draws)} samples of {len({draw.subject for draw in draws})} points", flush=True)
            missing = [task for _, task in tasks if repr(task) not in drawn]
            for task, solved in zip(missing, pool.map(_solved, missing), strict=True):
                drawn[repr(task)] = solved
                journal.write(json.dumps([repr(task), solved]) + "\n")
                journal.flush()
            for subject, task in tasks:
                for problem, each in zip(task.problems, drawn[repr(task)], strict=True):
                    for number, passed in enumerate(each):
                        search.tell(Draw(subject, problem, task.begun + number), passed)
    result = measured(search)
    write_report(searched, search, result, out)
    draw(searched, search, result, out / PICTURE)
    _write_counts(searched, search, out / COUNTS)
    print("\n".join(lines(searched, result)))


def _drawn(journal: Path) -> dict[str, list[list[bool]]]:
    """What an earlier run drew, by the text of its task; a line that a kill left half-written is not counted."""
    if not journal.exists():
        return {}
    whole = [line for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
    journal.write_text("".join(whole))
    return dict(json.loads(line) for line in whole)


def _write_counts(searched: Searched, search: Search, path: Path) -> None:
    """A row for each point and problem: member, weights (JSON), problem, samples, solved."""
    subjects = list(search.samples)
    samples, solved = search.counts(subjects)
    rows = [
        {
            "member": searched.name(subject),
            "weights": json.dumps(
                {name: weight for name, weight in zip(NAMES, subject, strict=True) if weight}
            ),
            "problem": problem.id,
            "samples": int(samples[row, column]),
            "solved": int(solved[row, column]),
        }
        for column, subject in enumerate(subjects)
        for row, problem in enumerate(searched.problems)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")


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
