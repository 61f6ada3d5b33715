"""What bench/router.py found, as Markdown and a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# Two-sided 95 % points of Student's t for small numbers of seeds; about 2 beyond.
_T = {1: 12.7, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 7: 2.36, 9: 2.26, 14: 2.14, 19: 2.09, 29: 2.05}


def interval(values) -> tuple[float, float]:
    """(mean, half the width of its 95 % interval) over seeds."""
    values = np.array(values, dtype=float)
    freedom = len(values) - 1
    if not freedom:
        return float(values[0]), float("nan")
    t = _T[max((known for known in _T if known <= freedom), default=1)]
    return float(values.mean()), float(t * values.std(ddof=1) / np.sqrt(len(values)))


def signed(mean: float, half: float) -> str:
    bold = "**" if abs(mean) > half else ""
    return f"{bold}{mean:+.1f}{bold} ± {half:.1f}"


def written(results: dict, figure: Path | None) -> str:
    lines = ["# Router policies on simulated frontiers", ""]
    lines += [
        "Made by `python bench/router.py --seeds N --save`, which says what is simulated; points are",
        "percentage points with 95 % intervals over the seeds, paired, **bold** where they exclude 0. The last two columns",
        "are samples a request: up to its first pass, under the smallest cap at which the policy solves what `uniform` solves",
        "with the whole budget; and how many fewer that is than `uniform` takes, itself stopping early, over the seeds",
        "where that is reached at all.",
        "",
    ]
    for kind, rows in results["frontiers"].items():
        lines += _frontier(kind, rows, results["budget"])
    if "embedded" in results:
        lines += _embedded(results["embedded"])
    if "regret" in results:
        lines += _regret(results["regret"])
    if "cost" in results:
        lines += [
            "## A decision",
            "",
            "CPU time per candidate of a whole session, 16 members, 64 samples, none passing (median of 20 sessions):",
            "",
        ]
        lines += [f"- {name}: {cost:.0f} µs" for name, cost in results["cost"].items()] + [""]
    if figure is not None and results["frontiers"]:
        _draw(results, figure)
        lines += ["![solved share against the best single member, and regret](router.png)", ""]
    return "\n".join(lines)


def _frontier(kind: str, frontier: dict, budget: int) -> list[str]:
    policies = frontier["policies"]
    seeds = len(frontier["headroom"])
    single = np.array(policies["best single"]["solved"])
    uniform = np.array(policies["uniform"]["solved"])
    lines = [
        f"## {kind}",
        "",
        (
            f"{seeds} seeds x 100 problems, budget {budget}; oracle headroom over the best single member "
            f"{100 * np.mean(frontier['headroom']):.1f} points."
        ),
        "",
        "| policy | solved % | against best single | against uniform | samples drawn | to uniform's rate | fewer than uniform |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in policies.items():
        solved = np.array(rows["solved"])
        against = ["", ""]
        for column, other in enumerate((single, uniform)):
            if other is not single or name != "best single":
                against[column] = signed(*interval(100 * (solved - other)))
        reached = [value for value in rows["needed"] if value is not None]
        needed = (
            f"{np.mean(reached):.1f}"
            + (f" ({len(reached)} of {seeds} seeds)" if len(reached) < seeds else "")
            if reached
            else ""
        )
        lines.append(
            f"| {name} | {100 * solved.mean():.1f} | {against[0]} | {against[1]} | {np.mean(rows['drawn']):.1f} | {needed} | {_fewer(rows['needed'], policies['uniform']['needed'])} |"
        )
    if kind == "drifting":
        lines += ["", *_recovery(policies)]
    return [*lines, ""]


def _fewer(needed: list, uniform: list) -> str:
    pairs = [(mine, other) for mine, other in zip(needed, uniform, strict=True) if mine is not None]
    if len(pairs) < 2:
        return ""
    mean, half = interval([100 * (1 - mine / other) for mine, other in pairs])
    return f"{mean:.0f} % ± {half:.0f}"


def _recovery(policies: dict) -> list[str]:
    """By tens of requests: the drift comes after the fifth."""
    uniform = np.array(policies["uniform"]["by_tens"])
    rows = ["Points against uniform by tens of requests; the world changes after the fifth ten:", ""]
    rows += [f"| policy | {' | '.join(str(10 * n + 10) for n in range(uniform.shape[1]))} |"]
    rows += ["|" + " --- |" * (uniform.shape[1] + 1)]
    for name in ("best single", "single", "bandit", "adaptive"):
        apart = 100 * (np.array(policies[name]["by_tens"]) - uniform)
        rows.append(f"| {name} | {' | '.join(signed(*interval(column)) for column in apart.T)} |")
    return rows


def _embedded(results: dict) -> list[str]:
    lines = [
        "## Recorded outcomes of the embedded frontier",
        "",
        "Two training seeds; test problems, ten runs each, all learnt on validation problems; intervals over problems (bootstrap).",
        "`single` is the member that solves most validation samples.",
        "",
        "| frontier | budget | policy | solved % | against single | against uniform | samples to the first pass |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for seed, budgets in results.items():
        for budget, policies in budgets.items():
            single, uniform = (np.array(policies[name]["solved"]) for name in ("single", "uniform"))
            for name, row in policies.items():
                solved = np.array(row["solved"])
                lines.append(
                    f"| {seed} | {budget} | {name} | {100 * solved.mean():.1f} | {_paired(solved - single)} "
                    f"| {_paired(solved - uniform)} | {row['first']:.1f} |"
                )
    return [*lines, ""]


def _paired(apart: np.ndarray) -> str:
    picked = np.random.default_rng(0).integers(0, len(apart), (4000, len(apart)))
    low, high = np.percentile(100 * apart[picked].mean(axis=1), [2.5, 97.5])
    text = f"{100 * apart.mean():+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _regret(regret: dict) -> list[str]:
    lines = ["## Regret of the bandits", "", "Requests of one sample, 2000 of them; regret against the best linear choice by context.", "",
             "| policy | after 500 | after 2000 | growth: exponent of rounds | per request: before the drift | just after it | at the end |",
             "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name in [policy for policy in regret if "drift" not in policy]:
        runs, drifted = np.array(regret[name]), np.array(regret[f"{name}, drift"])
        steps = 50 * np.arange(1, runs.shape[1] + 1)
        mean = np.maximum(runs.mean(axis=0), 1e-9)
        late = steps >= 500
        exponent = np.polyfit(np.log(steps[late]), np.log(mean[late]), 1)[0]
        each = np.diff(drifted, axis=1).mean(axis=0) / 50
        half = len(each) // 2
        lines.append(
            f"| {name} | {mean[9]:.0f} | {mean[-1]:.0f} | {exponent:.2f} | {each[half - 6 : half - 1].mean():.3f} "
            f"| {each[half + 1 : half + 4].mean():.3f} | {each[-6:].mean():.3f} |"
        )
    return [*lines, ""]


def _draw(results: dict, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    kinds = list(results["frontiers"])
    names = [name for name in next(iter(results["frontiers"].values()))["policies"] if name != "best single"]
    for index, name in enumerate(names):
        gains = []
        for kind in kinds:
            policies = results["frontiers"][kind]["policies"]
            gains.append(
                interval(
                    100 * (np.array(policies[name]["solved"]) - np.array(policies["best single"]["solved"]))
                )
            )
        positions = np.arange(len(kinds)) + (index - len(names) / 2) * 0.12
        left.errorbar(
            positions, [mean for mean, _ in gains], [half for _, half in gains], fmt="o", ms=4, label=name
        )
    left.axhline(0, color="grey", lw=0.8)
    left.set_xticks(range(len(kinds)), kinds, rotation=20)
    left.set_ylabel("points against the best single member")
    left.legend(fontsize=7)
    for name, runs in results.get("regret", {}).items():
        mean = np.array(runs).mean(axis=0)
        right.plot(50 * np.arange(1, len(mean) + 1), mean, "--" if "drift" in name else "-", label=name)
    right.set_xlabel("requests")
    right.set_ylabel("cumulated regret")
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
