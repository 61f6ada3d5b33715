"""docs/results.md's tables and plots, from the outcomes files alone.

What is written between the markers is replaced as a whole; what stands outside of them is people's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from alpharay.router.outcomes import Outcomes
from alpharay.serve.measure.outcomes import read_outcomes
from bench.frontier.figures import Set, best_single, best_split, interval, read
from bench.frontier.plots import ensemble_plot, frontier_plot, pass_plot

BEGIN, END = "<!-- frontier: written by `make results`, from here -->", "<!-- frontier: to here -->"
SERVED = ("frontier@-0.5", "frontier@0", "frontier@0.5", "frontier@1", "frontier@1.5")
ENDS = ("frontier@0", "frontier@1")
WIDE = ("frontier@-0.5", "frontier@1.5")

ENSEMBLES = """Ensembles at the same number of samples, in points against the single alpha that was best on validation
problems, with 95 % paired bootstrap intervals over test problems:"""


def points(value: float) -> str:
    return f"{100 * value:.1f}"


def gain(values: np.ndarray) -> str:
    mean, low, high = interval(values)
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def line_of(data: Set) -> list[str]:
    """The members with an alpha, in its order."""
    return [name for name, alpha in zip(data.names, data.alphas, strict=True) if not math.isnan(alpha)]


def members_table(data: Set, names: Sequence[str]) -> str:
    ks = [k for k in (1, 10, 50, 100, 250) if k in data.budgets]
    head = ["member", *(f"pass@{k}" for k in ks), "wrong or broken", "out of time"]
    rows = []
    for name in names:
        place = data.names.index(name)
        rows.append(
            [
                f"`{name}`", *(points(data.alone(name, k).mean()) for k in ks),
                points(data.incorrect[:, place].mean()), points(data.inefficient[:, place].mean()),
            ]
        )  # fmt: skip
    return table(head, rows)


def ensembles_table(validation: Set, test: Set) -> str:
    """Everything that is chosen is chosen on validation problems; gains are paired over test problems."""
    names = line_of(test)
    rows = []
    for k in test.budgets:
        if k < 5:
            continue
        single = best_single(validation, names, k)
        alone = test.alone(single, k)
        row = [str(k), f"`{single}` {points(alone.mean())}"]
        row += [gain(test.together(group, k) - alone) for group in (ENDS, WIDE, SERVED)]
        split, _ = best_split(validation, test, names, k)
        row.append(gain(test.split(split) - alone))
        hindsight = max(names, key=lambda name: float(test.alone(name, k).mean()))
        row.append(f"`{hindsight}` {points(test.alone(hindsight, k).mean())}")
        rows.append(row)
    head = [
        "k",
        "best single",
        "{0, 1}",
        "{-0.5, 1.5}",
        "the five served",
        "optimal split",
        "best with hindsight",
    ]
    return table(head, rows)


def baselines_table(line: Set, others: Set, validation: Set) -> str:
    """Groups of other members against the best single alpha, on the problems that both were sampled on."""
    groups = {
        "`high` and its earlier checkpoints": [n for n in others.names if n.startswith("high/")]
        + ["frontier@1"],
        "`low` and its earlier checkpoints": [n for n in others.names if n.startswith("low/")]
        + ["frontier@0"],
        "`init` alone": ["init"],
        "`high` hotter": ["frontier@1 hot"],
        "`low` hotter": ["frontier@0 hot"],
        "alpha 0.5 hotter": ["frontier@0.5 hot"],
        "WISE-FT of `high`": ["wise-ft high"],
        "ExPO of `high`": ["expo high"],
        "ExMe": ["exme"],
        "uniform, the five served": list(SERVED),
    }
    ks = [k for k in (5, 10, 20, 50) if k in others.budgets and k in line.budgets]
    rows = []
    for label, group in groups.items():
        row = [label]
        for k in ks:
            alone = line.alone(best_single(validation, line_of(line), k), k)
            row.append(gain(_together(line, others, group, k) - alone))
        rows.append(row)
    return table(["instead of the best single alpha", *(f"points at k = {k}" for k in ks)], rows)


def _together(line: Set, others: Set, group: Sequence[str], k: int) -> np.ndarray:
    """An equal split over members of either file; k that does not divide goes to the first ones."""
    share, rest = divmod(k, len(group))
    failure = np.ones(line.problems)
    for place, name in enumerate(group):
        source = line if name in line.names else others
        failure = (
            failure * (1 - source.alone(name, share + (place < rest))) if share + (place < rest) else failure
        )
    return 1 - failure


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


def restricted(path: Path, problems: Sequence[str]) -> Set:
    """The file's members on those problems, in that order."""
    return read(_only(read_outcomes(path), problems))


def _only(outcomes: Outcomes, problems: Sequence[str]) -> Outcomes:
    place = {name: number for number, name in enumerate(problems)}
    new = np.array([place.get(name, -1) for name in outcomes.problems])[outcomes.problem]
    rows = new >= 0
    columns = {
        f.name: getattr(outcomes, f.name)[rows]
        for f in fields(outcomes)
        if isinstance(getattr(outcomes, f.name), np.ndarray)
    }
    columns["problem"] = new[rows]
    return replace(outcomes, problems=tuple(problems), **columns)


def section(seed: int, folder: Path) -> str:
    """The report of one seed; its plots are written beside its outcomes."""
    validation = read(read_outcomes(folder / f"seed{seed}-validation.parquet"))
    outcomes = read_outcomes(folder / f"seed{seed}-test.parquet")
    test = read(outcomes)
    names = line_of(test)
    sizes = [int(each.counts[..., 0].min()) for each in (test, validation)]
    text = [
        f"### Seed {seed}",
        f"Test: {test.problems} problems, {sizes[0]} samples a member. Validation: {validation.problems}, {sizes[1]}.",
        members_table(test, names),
    ]
    base = folder / f"seed{seed}-baselines.parquet"
    others = line = None
    if base.exists():
        known = read_outcomes(base)
        shared = [name for name in known.problems if name in outcomes.problems]
        others, line = restricted(base, shared), read(_only(outcomes, shared))
    frontier_plot(test, names, others, folder / f"frontier-seed{seed}.png", f"seed {seed}")
    pass_plot(test, names, folder / f"pass-seed{seed}.png", f"seed {seed}")
    ensemble_plot(validation, test, names, folder / f"ensemble-seed{seed}.png", f"seed {seed}")
    where = f"../bench/results/frontier/{{}}-seed{seed}.png"
    text += [
        f"![correctness against efficiency failures]({where.format('frontier')})",
        f"![pass@k]({where.format('pass')})",
        ENSEMBLES,
        ensembles_table(validation, test),
        f"![ensembles]({where.format('ensemble')})",
    ]
    if others is not None and line is not None:
        text += [
            f"Other ways to spend the samples, on {line.problems} of these problems:",
            baselines_table(line, others, validation),
            members_table(others, others.names),
        ]
    shift = folder / f"seed{seed}-heldout.parquet"
    if shift.exists():
        far = read(read_outcomes(shift))
        text += [
            f"Families that were never trained on, {far.problems} problems:",
            members_table(far, line_of(far)),
        ]
    return "\n\n".join(text) + "\n"


def write(seeds: Sequence[int], outcomes: Path, page: Path) -> None:
    """Replaces what stands between the markers of the page; makes the page where there is none."""
    body = "\n".join(section(seed, outcomes) for seed in seeds)
    old = page.read_text() if page.exists() else f"# Results\n\n{BEGIN}\n{END}\n"
    before, rest = old.split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{body.rstrip()}\n\n{END}{rest.split(END)[1]}")
