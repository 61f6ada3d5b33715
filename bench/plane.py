"""What a schedule over the plane solves on problems that were in no choice, beside every member and checkpoint alone.

    python -m bench.plane serve/embedded/portfolio.yaml --validation bench/results/frontier/seed1-validation.parquet \
        bench/results/frontier/seed1-served.parquet bench/results/frontier/seed1-fresh.parquet

Shares are exact: the chance that k of the recorded samples hold a pass. The schedule is fixed before. What it is
compared with is chosen anew in every bootstrap sample: the line's alpha on resampled validation problems, the best
with hindsight on the resampled test problems themselves. Both are paired with the schedule over test problems.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from alpharay.router.intervals import middle
from alpharay.router.passk import budgets_up_to, filled_failure_curve, split_failure
from alpharay.router.schedule import expanded
from alpharay.serve.evaluate.outcomes import read_outcomes

Floats = NDArray[np.float64]

LINE = ("frontier@0", "frontier@0.25", "frontier@0.5", "frontier@0.75", "frontier@1", "frontier@1.5")
RESAMPLES = 4000


def curves_of(
    paths: Sequence[Path], names: Sequence[str] | None = None
) -> tuple[list[str], Floats, list[int]]:
    """(members, [k + 1, problems, members] chances that k samples hold no pass, budgets) of all files together.

    A member that two files have is taken from the first. Budgets go as far as the samples of every member do.
    """
    members: list[str] = []
    samples, solved = [], []
    problems: tuple[str, ...] = ()
    for path in paths:
        outcomes = read_outcomes(path)
        order = np.argsort(outcomes.problems)
        known = tuple(outcomes.problems[number] for number in order)
        if problems and known != problems:
            raise SystemExit(f"{path} is of other problems than {paths[0]}")
        problems = known
        for column, member in enumerate(outcomes.members):
            if member.name not in members and (names is None or member.name in names):
                members.append(member.name)
                samples.append(outcomes.counts.samples[order, column])
                solved.append(outcomes.counts.solved[order, column])
    drawn = np.stack(samples, axis=1)
    most = int(np.median(drawn, axis=0).min())
    return members, filled_failure_curve(drawn, np.stack(solved, axis=1), most), budgets_up_to(most)


def schedule_of(path: Path) -> tuple[str, ...]:
    runs = yaml.safe_load(path.read_text())["schedule"]
    return expanded([next(iter(run.items())) for run in runs])


def table(schedule: Sequence[str], test: Sequence[Path], validation: Path, before: Sequence[str] = ()) -> str:
    """Markdown: solved with k samples by the schedule and by each member, and the schedule's gains.

    before: an earlier schedule, to compare with.
    """
    names, curves, budgets = curves_of(test)
    missing = {*schedule, *before} - set(names)
    if missing:
        raise SystemExit(f"no outcomes of {', '.join(sorted(missing))}, which the schedule names")
    line, chosen, _ = curves_of([validation], LINE)
    rng = np.random.default_rng(0)
    picked = rng.integers(0, curves.shape[1], (RESAMPLES, curves.shape[1]))
    chosen_on = rng.integers(0, chosen.shape[1], (RESAMPLES, chosen.shape[1]))
    ours = {k: _solved(schedule, names, curves, k) for k in budgets}
    earlier = {k: _solved(before, names, curves, k) for k in budgets if before}
    rows = [["**the schedule**", *(f"**{100 * ours[k].mean():.1f}**" for k in budgets)]]
    if before:
        rows.append(["the schedule before", *(f"{100 * each.mean():.1f}" for each in earlier.values())])
    rows += [
        [f"`{name}`", *(f"{100 * (1 - curves[k][:, column].mean()):.1f}" for k in budgets)]
        for column, name in enumerate(names)
    ]
    gains: dict[str, list[str]] = {}
    for k in budgets:
        known = min(k, len(chosen) - 1)
        alone = 1 - curves[k]  # [problems, members]
        on_line = alone[:, [names.index(name) for name in line]]
        best = int((1 - chosen[known]).mean(axis=0).argmax())
        anew = (1 - chosen[known])[chosen_on].mean(axis=1).argmax(axis=1)  # [RESAMPLES]
        mine = ours[k][picked].mean(axis=1)
        spread = mine - on_line[picked, anew[:, np.newaxis]].mean(axis=1)
        gains.setdefault("the line's alpha of each k, chosen on validation problems", []).append(
            _cell(ours[k].mean() - on_line[:, best].mean(), spread, line[best])
        )
        if before:
            spread = mine - earlier[k][picked].mean(axis=1)
            gains.setdefault("the schedule before", []).append(
                _cell(ours[k].mean() - earlier[k].mean(), spread)
            )
        groups = {"the best of its own members at each k, with hindsight": [n for n in names if n in schedule],
                  "the best of all above at each k, with hindsight": names}  # fmt: skip
        for group, members in groups.items():
            shares = alone[:, [names.index(name) for name in members]]
            first = members[int(shares.mean(axis=0).argmax())]
            spread = mine - shares[picked].mean(axis=1).max(axis=1)
            gains.setdefault(group, []).append(
                _cell(ours[k].mean() - shares.mean(axis=0).max(), spread, first)
            )
    heads = [f"k = {k}" for k in budgets]
    return "\n\n".join(
        [
            f"Solved with k samples, percent, {curves.shape[1]} problems:",
            _table(["", *heads], rows),
            "The schedule, in points against:",
            _table(["", *heads], [[what, *cells] for what, cells in gains.items()]),
        ]
    )


def _solved(schedule: Sequence[str], names: Sequence[str], curves: Floats, k: int) -> Floats:
    """[problems]: the chance that the schedule's first k samples hold a pass."""
    counts = Counter(schedule[:k])
    return 1 - split_failure(curves, [counts[name] for name in names])


def _cell(value: float, spread: Floats, name: str = "") -> str:
    low, high = middle(spread)
    return f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]" + (f" (`{name}`)" if name else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("portfolio", type=Path)
    parser.add_argument("test", type=Path, nargs="+")
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--before", type=Path, help="the portfolio.yaml of an earlier schedule")
    arguments = parser.parse_args()
    before = schedule_of(arguments.before) if arguments.before else ()
    print(table(schedule_of(arguments.portfolio), arguments.test, arguments.validation, before))


if __name__ == "__main__":
    main()
