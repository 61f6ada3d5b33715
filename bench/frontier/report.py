"""docs/results.md's tables and plots, from the outcomes files alone.

What is written between the markers is replaced as a whole; what stands outside of them is people's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from alpharay.router.outcomes import Outcomes
from alpharay.serve.evaluate.outcomes import read_outcomes
from bench.frontier.figures import Set, best_single, best_split, halves, interval, read, rows_of
from bench.frontier.kinds import Kind, best_by_family, by_family, by_kind, kinds_of, solved_by
from bench.frontier.plots import ensemble_plot, families_plot, frontier_plot, pass_plot
from bench.policies import tables

BEGIN, END = "<!-- frontier: written by `make results`, from here -->", "<!-- frontier: to here -->"
SERVED = ("frontier@-0.5", "frontier@0", "frontier@0.5", "frontier@1", "frontier@1.5")
ENDS = ("frontier@0", "frontier@1")
WIDE = ("frontier@-0.5", "frontier@1.5")
EMBEDDED = Path("serve/embedded")
RUNS = 10  # of each replayed policy on each problem

ENSEMBLES = """Ensembles at the same number of samples, in points against the single alpha that was best on validation
problems, with 95 % paired bootstrap intervals over test problems:"""

POLICIES = """The same for the policies of the router over the five served members; `bandit` and `adaptive` are replayed, each
having learnt from the validation problems:"""

KIND_HEAD = """Which problems {k} samples solve, by kind (low limits: the simple way keeps them, too; hard: the fast way has
more to get wrong):"""


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
        column = data.names.index(name)
        rows.append(
            [
                f"`{name}`", *(points(data.alone(name, k).mean()) for k in ks),
                points(data.incorrect[:, column].mean()), points(data.inefficient[:, column].mean()),
            ]
        )  # fmt: skip
    return table(head, rows)


def ensembles_table(validation: Set, test: Set, families: tuple[Sequence[str], Sequence[str]]) -> str:
    """Everything that is chosen is chosen on validation problems; gains are paired over test problems.

    families: of the validation and of the test problems.
    """
    names = line_of(test)
    rows = []
    for k in test.budgets:
        if k < 5:
            continue
        single = best_single(validation, names, k)
        alone = test.alone(single, k)
        row = [str(k), f"`{single}` {points(alone.mean())}"]
        row += [gain(test.together(group, k) - alone) for group in (ENDS, WIDE, SERVED)]
        row.append(gain(test.split(best_split(validation, test, names, k)) - alone))
        row.append(gain(best_by_family(validation, test, families, names, k) - alone))
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
        "an alpha for each family",
        "best with hindsight",
    ]
    return table(head, rows)


def baselines_table(line: Set, others: Set, validation: Set) -> str:
    """Groups of other members against the best single alpha, on the problems that both were sampled on."""
    groups = {
        "`high` and its earlier checkpoints": [*_steps(others, "high"), "frontier@1"],
        "`low` and its earlier checkpoints": [*_steps(others, "low"), "frontier@0"],
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


def _steps(data: Set, endpoint: str) -> list[str]:
    """Its earlier checkpoints, `high/step=5` before `high/step=10`."""
    return sorted((name for name in data.names if name.startswith(f"{endpoint}/")), key=_numbered)


def _numbered(name: str) -> list[int | str]:
    """Sorts names with numbers in them by those."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _together(line: Set, others: Set, group: Sequence[str], k: int) -> np.ndarray:
    """An equal split over members of either file; k that does not divide goes to the first ones."""
    share, rest = divmod(k, len(group))
    failure = np.ones(line.problems)
    for index, name in enumerate(group):
        source = line if name in line.names else others
        failure = (
            failure * (1 - source.alone(name, share + (index < rest))) if share + (index < rest) else failure
        )
    return 1 - failure


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


def _only(outcomes: Outcomes, problems: Sequence[str]) -> Outcomes:
    index_of = {name: number for number, name in enumerate(problems)}
    new = np.array([index_of.get(name, -1) for name in outcomes.problems])[outcomes.problem]
    kept = rows_of(outcomes, new >= 0)
    return replace(kept, problems=tuple(problems), problem=new[new >= 0])


def beside_table(line: Set, others: Set) -> str:
    """Members of another make, each beside the merged weights of its alpha, on the same problems."""
    ks = [k for k in (1, 10, 50) if k in others.budgets and k in line.budgets]
    head = ["member", *(f"pass@{k}" for k in ks), "wrong or broken", "out of time"]
    head += [f"against the weights' line, k = {k}" for k in (1, 50) if k in ks]
    rows = []
    for name, alpha in zip(others.names, others.alphas, strict=True):
        column = others.names.index(name)
        same = line.names[line.alphas.index(alpha)]
        rows.append(
            [
                f"`{name}`", *(points(others.alone(name, k).mean()) for k in ks),
                points(others.incorrect[:, column].mean()), points(others.inefficient[:, column].mean()),
                *(gain(others.alone(name, k) - line.alone(same, k)) for k in (1, 50) if k in ks),
            ]
        )  # fmt: skip
    return table(head, rows)


def kinds_table(test: Set, outcomes: Outcomes, kinds: dict[str, Kind], k: int) -> str:
    """What the served members and their even split solve with k samples, by kind of problem."""
    head = ["problems", "number", *(f"`{name}`" for name in SERVED), "the five, evenly"]
    rows = []
    for label, chosen in by_kind(kinds, outcomes.problems).items():
        row = [label, str(chosen.sum()), *(points(test.alone(name, k)[chosen].mean()) for name in SERVED)]
        rows.append([*row, points(test.together(SERVED, k)[chosen].mean())])
    return table(head, rows)


def apart_table(outcomes: Outcomes, k: int) -> str:
    """Problems sorted by which endpoint solved them in the first half of its samples, measured on the second half."""
    first, second = halves(outcomes)
    alone = (ENDS[0], "frontier@0.5", "frontier@0.75", ENDS[1])
    head = ["solved by, first half", "problems", *(f"`{name}`" for name in alone), "{0, 1}, evenly"]
    rows = []
    for label, chosen in solved_by(first, *ENDS).items():
        if chosen.any():
            row = [
                label,
                str(chosen.sum()),
                *(points(second.alone(name, k)[chosen].mean()) for name in alone),
            ]
            rows.append([*row, points(second.together(ENDS, k)[chosen].mean())])
    return table(head, rows)


def section(seed: int, folder: Path) -> str:
    """The report of one seed; its plots are written beside its outcomes."""
    chosen_on = read_outcomes(folder / f"seed{seed}-validation.parquet")
    validation = read(chosen_on)
    outcomes = read_outcomes(folder / f"seed{seed}-test.parquet")
    test = read(outcomes)
    names = line_of(test)
    sizes = [int(each.counts[..., 0].min()) for each in (test, validation)]
    text = [
        f"### Seed {seed}",
        f"Test: {test.problems} problems, {sizes[0]} samples a member. Validation: {validation.problems}, {sizes[1]}.",
        members_table(test, names),
    ]

    def others_of(name: str) -> tuple[Set, Set] | None:
        """Other members, and the line on the same problems."""
        path = folder / f"seed{seed}-{name}.parquet"
        if not path.exists():
            return None
        known = read_outcomes(path)
        shared = [each for each in known.problems if each in outcomes.problems]
        return read(_only(known, shared)), read(_only(outcomes, shared))

    others, adapters, logits = (others_of(name) for name in ("baselines", "adapters", "logits"))
    lines = {
        label: pair[0] for label, pair in (("adapters", adapters), ("logits", logits)) if pair is not None
    }
    title = f"seed {seed}"
    frontier_plot(test, names, others and others[0], lines, folder / f"frontier-seed{seed}.png", title)
    pass_plot(test, names, folder / f"pass-seed{seed}.png", title)
    ensemble_plot(validation, test, names, folder / f"ensemble-seed{seed}.png", title)
    kinds = kinds_of(EMBEDDED / "problems.jsonl", EMBEDDED / "problems-validation.jsonl")
    shares = np.stack([test.alone(name, 1) for name in names], axis=1)
    families_plot(
        *by_family(kinds, outcomes.problems, shares), names, folder / f"families-seed{seed}.png", title
    )

    def families_of(each: Outcomes) -> list[str]:
        return [kinds[name].family for name in each.problems]

    where = f"../bench/results/frontier/{{}}-seed{seed}.png"
    k = min(50, sizes[0] // 2)
    text += [
        f"![correctness against efficiency failures]({where.format('frontier')})",
        f"![pass@k]({where.format('pass')})",
        ENSEMBLES,
        ensembles_table(validation, test, (families_of(chosen_on), families_of(outcomes))),
        f"![ensembles]({where.format('ensemble')})",
        POLICIES,
        tables(outcomes, chosen_on, members=SERVED, runs=RUNS),
        KIND_HEAD.format(k=k),
        kinds_table(test, outcomes, kinds, k),
        f"Whether the endpoints solve different problems: sorted by one half of the samples, pass@{k} on the other half:",
        apart_table(outcomes, k),
        f"![pass@1 by family]({where.format('families')})",
    ]
    if adapters is not None:
        text += ["The line between the LoRA adapters:", beside_table(adapters[1], adapters[0])]
    if logits is not None:
        text += [
            "Logits of both endpoints combined at every token, at twice the cost, instead of their weights once:",
            beside_table(logits[1], logits[0]),
        ]
    if others is not None:
        text += [
            f"Other ways to spend the samples, on {others[0].problems} of these problems:",
            baselines_table(others[1], others[0], validation),
            members_table(others[0], sorted(others[0].names, key=_numbered)),
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
