"""What policies solve on recorded outcomes, beside every member alone, at the same number of samples.

    python -m bench.policies TEST.parquet VALIDATION.parquet

Nothing is learnt or chosen on the problems that it is tried on: the best single member, the fixed split and what the
policies have learnt all come from VALIDATION. Members, the equal split and the fixed split are exact (the chance that k
of the recorded samples hold a pass); `bandit` and `adaptive` are replayed, each request with a budget of k samples
drawn without replacement. k runs as far as every member's samples do. `tables` is what docs/results.md shows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alpharay.router.intervals import mean_interval
from alpharay.router.outcomes import Outcomes
from alpharay.router.passk import budgets_up_to, failure_curve, split_failure, uniform_failure
from alpharay.router.portfolio import coverage, optimal_split, rounded
from alpharay.router.replay import Replay
from alpharay.serve.evaluate.outcomes import read_outcomes

Floats = NDArray[np.float64]

SERVED = ("frontier@-0.5", "frontier@0", "frontier@0.5", "frontier@1", "frontier@1.5")
REPLAYED = ("bandit", "adaptive")
RESAMPLES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """Per k: each problem's chance to be solved [problems], and the samples up to the first that passed, k if none."""

    chance: dict[int, Floats]
    drawn: dict[int, float]


def measured(
    test: Outcomes, validation: Outcomes, members: Sequence[str], *, runs: int
) -> tuple[dict[str, Solved], dict[int, str]]:
    """(what each member and policy solves, the best single member of each k by validation).

    runs: of each replayed policy on each problem. Problems that lack samples of some member are left out.
    """
    test, validation = test.only(tuple(members)), validation.only(tuple(members))
    trial, chosen = test.counts, validation.counts
    trial, chosen = trial.at(trial.complete), chosen.at(chosen.complete)  # the problems that a replay takes
    most = int(trial.samples.min())
    ks = budgets_up_to(most)
    curves = failure_curve(trial.samples, trial.solved, most)
    known = np.stack([chosen.samples, chosen.solved], axis=-1)
    ways: dict[str, Solved] = {}
    for index, name in enumerate(members):
        ways[name] = _fixed(curves, {k: _alone(index, len(members), k) for k in ks})
    ways["uniform"] = Solved(
        chance={k: 1 - uniform_failure(curves, k) for k in ks},
        drawn={k: _until_a_pass(lambda j: uniform_failure(curves, j), k) for k in ks},
    )
    splits = {k: [int(n) for n in rounded(optimal_split(known, k, shrunk=True), k)] for k in ks}
    ways["portfolio"] = _fixed(curves, splits)
    singles = {k: max(range(len(members)), key=lambda m: _expected(known, m, k)) for k in ks}
    replay = Replay(test, learnt_from=validation)
    for policy in REPLAYED:
        replays = {k: replay.run(policy, k, runs) for k in ks}
        ways[policy] = Solved(
            chance={k: replayed.solved.mean(axis=0) for k, replayed in replays.items()},
            drawn={
                k: float(np.where(replayed.solved, replayed.first_pass, k).mean())
                for k, replayed in replays.items()
            },
        )
    return ways, {k: members[index] for k, index in singles.items()}


def tables(test: Outcomes, validation: Outcomes, *, members: Sequence[str] = SERVED, runs: int = 10) -> str:
    """Markdown: pass@k of every member and policy, their gain on the best single member, and the samples drawn."""
    ways, singles = measured(test, validation, members, runs=runs)
    ks = sorted(singles)
    share = [[f"`{name}`", *(_percent(way.chance[k]) for k in ks)] for name, way in ways.items()]
    share.insert(
        len(members), ["best single by validation", *(_percent(ways[singles[k]].chance[k]) for k in ks)]
    )
    gains = [
        [f"`{name}`", *(_points(ways[name].chance[k] - ways[singles[k]].chance[k]) for k in ks)]
        for name in ways
        if name not in members
    ]
    drawn = [
        [f"`{name}`", *(f"{ways[name].drawn[k]:.1f}" for k in ks)] for name in ways if name not in members
    ]
    heads = [f"k = {k}" for k in ks]
    return "\n\n".join(
        [
            "Solved with k samples, percent:",
            _table(["", *heads], share),
            "Points against the single member that was best on validation problems, paired over problems:",
            _table(["", *heads], gains),
            "Samples up to the first that passes, k where none does:",
            _table(["", *heads], drawn),
        ]
    )


def _alone(index: int, members: int, k: int) -> list[int]:
    return [k if number == index else 0 for number in range(members)]


def _expected(known: NDArray[np.int64], index: int, k: int) -> float:
    """Coverage by k samples of one member, or as many as were recorded."""
    return coverage(known[:, [index]], [min(k, int(known[:, index, 0].min()))])


def _fixed(curves: Floats, splits: dict[int, list[int]]) -> Solved:
    """A split that is decided beforehand; its samples are drawn in the same proportions all along."""

    def failure(split: Sequence[int], j: int) -> Floats:
        return split_failure(curves, [int(n) for n in rounded(split, j)] if j else [0] * len(split))

    return Solved(
        chance={k: 1 - split_failure(curves, split) for k, split in splits.items()},
        drawn={k: _until_a_pass(lambda j, s=split: failure(s, j), k) for k, split in splits.items()},
    )


def _until_a_pass(failure, k: int) -> float:
    """Samples drawn one by one until one passes, k at most: a sample is drawn where all before it failed."""
    return float(sum(failure(j).mean() for j in range(k)))


def _percent(chance: Floats) -> str:
    mean, low, high = mean_interval(chance, resamples=RESAMPLES)
    return f"{100 * mean:.1f} [{100 * low:.0f}, {100 * high:.0f}]"


def _points(difference: Floats) -> str:
    mean, low, high = mean_interval(difference, resamples=RESAMPLES)
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [" | ".join(head), "|".join([" --- "] * len(head)), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("test", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--members", nargs="+", default=SERVED)
    arguments = parser.parse_args()
    test, validation = read_outcomes(arguments.test), read_outcomes(arguments.validation)
    print(tables(test, validation, members=tuple(arguments.members), runs=arguments.runs))


if __name__ == "__main__":
    main()
