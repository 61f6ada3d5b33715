"""`alpharay search` over the trained checkpoints, with the trainer's sampler in place of the engines.

    python -m bench.frontier search --seed 1

The same search, schedule and report, from the same validation problems: what differs is who draws the samples. The
sampler computes samples that have written the same so far once, which makes it some ten times as fast as an engine on
two cores; so the members that come with the package could be found from many samples. Started again it draws nothing
twice. `schedule.yaml` has the schedule over all finalists, `counts.parquet` the samples of each point and problem, and how many passed.
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
from alpharay.serve.portfolio_file import portfolio_text
from alpharay.serve.span import AdapterCheckpoint
from bench.frontier.members import in_span
from bench.frontier.sample import sample
from bench.frontier.tokenizer import encode_prompt
from bench.frontier.verdicts import Judge, covered

NAMES = ("init", "low", "high", "lora_high")
BUDGETS = (1, 2, 5, 10, 20, 50, 100)
TOTAL = 90_000
MEMBERS = 6
PROCESSES = 2
BATCH = 8  # problems that are sampled together
JOURNAL = "drawn.jsonl"  # a line for each task
COUNTS = "counts.parquet"
SCHEDULE = "schedule.yaml"


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
    drawn = _Drawn(out / JOURNAL)
    with ProcessPoolExecutor(PROCESSES, initializer=_begin, initargs=(weights, raws)) as pool:
        while draws := search.draws():
            tasks = list(_tasks(draws, search))
            print(f"{len(draws)} samples of {len({draw.subject for draw in draws})} points", flush=True)
            missing = [task for _, task in tasks if drawn.lacks(task)]
            for task, solved in zip(missing, pool.map(_solved, missing), strict=True):
                drawn.add(task, solved)
            for subject, task in tasks:
                for problem, each in zip(task.problems, drawn.of(task), strict=True):
                    for number, passed in enumerate(each):
                        search.record(Draw(subject, problem, task.begun + number), passed)
    result = measured(search)
    write_report(searched, search, result, out)
    schedule = portfolio_text(
        [searched.name(point) for point in result.recommended],
        ["The schedule over the finalists, whether or not the search says that one point suffices."],
    )
    (out / SCHEDULE).write_text(schedule)
    draw(searched, search, result, out / PICTURE)
    _write_counts(searched, search, out / COUNTS)
    print("\n".join(lines(searched, result)))


class _Drawn:
    """Which samples passed, of each point and problem in their order; kept in a file, and read from it at the start."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._passed: dict[tuple[Any, int], list[bool]] = {}
        if journal.exists():
            whole = [line for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
            journal.write_text("".join(whole))  # without a line that a kill left half-written
            for line in whole:
                weights, problems, begun, solved = json.loads(line)
                self._take(tuple(map(tuple, weights)), problems, begun, solved)

    def _take(self, weights: Any, problems: Sequence[int], begun: int, solved: list[list[bool]]) -> None:
        for problem, each in zip(problems, solved, strict=True):
            passed = self._passed.setdefault((weights, problem), [])
            passed[begun:] = each

    def add(self, task: Task, solved: list[list[bool]]) -> None:
        self._take(task.weights, task.problems, task.begun, solved)
        with self._journal.open("a") as file:
            file.write(json.dumps([task.weights, task.problems, task.begun, solved]) + "\n")

    def of(self, task: Task) -> list[list[bool]]:
        """[problems, samples]; fewer samples than the task's where they were not drawn."""
        end = task.begun + task.count
        return [self._passed.get((task.weights, problem), [])[task.begun : end] for problem in task.problems]

    def lacks(self, task: Task) -> bool:
        return any(len(each) < task.count for each in self.of(task))


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
