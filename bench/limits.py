"""Whether a schedule for each kind of limits that a prompt states solves more than one schedule for all of them.

    python -m bench.limits --out bench/results/limits.md

Schedules are chosen on the validation problems of the search over four checkpoints and tried on the fresh test problems,
which no choice has seen. The kind of a prompt is what it states of n: nothing, below 1000, or more. A schedule of one kind
counts every problem, and those of its kind more: each gets a further weight of 1 / (24 + their number).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from alpharay.router.intervals import middle
from alpharay.router.passk import filled_failure_curve, split_failure
from alpharay.router.schedule import greedy_schedules, shrunk_chances
from alpharay.serve.evaluate.outcomes import read_outcomes
from bench.frontier.problems.draw import FAMILIES, shuffled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESULTS = Path("bench/results/frontier")
EMBEDDED = Path("serve/embedded")
SMALL = 1000  # the largest n of a small limit is below it
SHRINKAGE = 24.0  # as many problems of any kind count as much as those of one kind
KINDS = ("no limit", "small", "large")
BUDGETS = (1, 2, 5, 10, 20, 50, 100)
RESAMPLES = 2000


def kind_of(prompt: str) -> int:
    """Index into `KINDS`."""
    stated = re.search(r"\b[a-z] is at most (\d+)", prompt)
    return 0 if stated is None else 1 if int(stated[1]) < SMALL else 2


def validation(weights: Sequence[str]) -> tuple[Floats, Ints]:
    """(shrunk chances [problems, members], kinds [problems]) of the points with these weights, as canonical JSON."""
    prompts = [json.loads(line) for line in (EMBEDDED / "problems-validation.jsonl").read_text().splitlines()]
    row = {problem["id"]: number for number, problem in enumerate(prompts)}
    counts = np.zeros((2, len(row), len(weights)), dtype=np.int64)
    for outcome in pq.read_table(RESULTS / "search-four-seed1.parquet").to_pylist():
        point = _canonical(json.loads(outcome["weights"]))
        if point in weights:
            counts[:, row[outcome["problem"]], weights.index(point)] = outcome["samples"], outcome["solved"]
    if not counts[0].all():
        raise SystemExit("a served member has no samples of some validation problem")
    return shrunk_chances(*counts), np.array([kind_of(problem["prompt"]) for problem in prompts])


def schedules(chances: Floats, kinds: Ints, counted: Floats) -> tuple[Ints, Ints]:
    """([sets, samples], [sets, kinds, samples]): the schedules for all problems and for each kind.

    counted: [sets, problems], how often each problem is in each set.
    """
    of_all = greedy_schedules(chances, counted / counted.sum(axis=1, keepdims=True), max(BUDGETS))
    of_kinds = []
    for kind in range(len(KINDS)):
        mine = counted * (kinds == kind)
        number = mine.sum(axis=1, keepdims=True)
        weights = SHRINKAGE * counted / counted.sum(axis=1, keepdims=True) + mine
        of_kinds.append(greedy_schedules(chances, weights / (SHRINKAGE + number), max(BUDGETS)))
    return np.asarray(of_all), np.stack(of_kinds, axis=1)


def solved(curves: Floats, schedule: Ints, k: int) -> Floats:
    """[problems], the chance that the first k samples of the schedule hold a pass. curves: [k + 1, problems, members]"""
    return 1.0 - split_failure(curves, np.bincount(schedule[:k], minlength=curves.shape[2]))


def gains(curves: Floats, kinds: Ints, of_all: Ints, of_kinds: Ints, k: int) -> tuple[Floats, Floats]:
    """([problems], [problems]): solved by the one schedule, and by the schedule of each problem's kind."""
    each = np.stack([solved(curves, schedule, k) for schedule in of_kinds])
    return solved(curves, of_all, k), each[kinds, np.arange(len(kinds))]


def table() -> str:
    served = {
        f"frontier@{member['name']}": _canonical(member["weights"])
        for member in yaml.safe_load((EMBEDDED / "frontier.yaml").read_text())["members"]
        if isinstance(member, dict)
    }
    outcomes = read_outcomes(RESULTS / "seed1-served.parquet")
    fresh = {raw["id"]: kind_of(raw["prompt"]) for raw in shuffled(list(FAMILIES), 6, "test")}
    kinds = np.array([fresh[name] for name in outcomes.problems])
    chances, known = validation([served[member.name] for member in outcomes.members])
    counts = outcomes.counts
    curves = filled_failure_curve(counts.samples, counts.solved, max(BUDGETS))

    rng = np.random.default_rng(0)
    everyone = np.ones((1, len(known)))
    of_all, of_kinds = (chosen[0] for chosen in schedules(chances, known, everyone))
    sets = rng.multinomial(len(known), everyone[0] / len(known), RESAMPLES).astype(np.float64)
    sampled_all, sampled_kinds = schedules(chances, known, sets)
    picked = rng.integers(0, len(kinds), (RESAMPLES, len(kinds)))
    rows = []
    for k in BUDGETS:
        one_schedule, by_kind = gains(curves, kinds, of_all, of_kinds, k)
        resampled = []
        for number in range(RESAMPLES):
            before, after = gains(curves, kinds, sampled_all[number], sampled_kinds[number], k)
            resampled.append(100 * (after - before)[picked[number]].mean())
        low, high = middle(np.array(resampled))
        gain = 100 * (by_kind - one_schedule).mean()
        rows.append(
            f"| {k} | {100 * one_schedule.mean():.1f} | {100 * by_kind.mean():.1f} | {gain:+.2f} [{low:+.2f}, {high:+.2f}] |"
        )
    numbers = ", ".join(
        f"{name}: {(known == kind).sum()} and {(kinds == kind).sum()}" for kind, name in enumerate(KINDS)
    )
    return "\n".join(
        [
            "# A schedule for each kind of stated limits",
            "",
            f"`python -m bench.limits`: the {len(served)} served members; schedules chosen on {len(known)} validation problems",
            f"and tried on {len(kinds)} fresh ones ({numbers}). Intervals of 95 % resample both, and choose anew each time.",
            "",
            "| samples | one schedule, % | one for each kind, % | gain, points |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _canonical(weights: dict[str, float]) -> str:
    return json.dumps({name: float(weights[name]) for name in sorted(weights)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the table there, too")
    arguments = parser.parse_args()
    text = table()
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
