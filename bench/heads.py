"""Heads against each other, where the traffic is like the log, harder than it, and from another source.

    python -m bench.heads --seeds 20 --save     # writes bench/results/heads.md
    python -m bench.heads --recorded --save     # on recorded prompts: bench/results/heads-recorded.md

A prompt's 32 features tell of its difficulty and of its place along the frontier, through noise; of 16 more
properties of its source, which mean nothing, and are different in the other source. There the features also
weigh difficulty differently. All of that is simulated; what is recorded, and how heads are tried on it, says heads_recorded.py.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from bench import heads_recorded
from bench.heads_recorded import HEADS
from bench.router_report import interval

ALPHAS = np.array([-0.5, 0.0, 0.5, 1.0, 1.5])
TRIES, PASS_AT = 8, 8
RESULTS = Path(__file__).parent / "results"


def problems(rng: np.random.Generator, number: int, source: str) -> tuple[np.ndarray, np.ndarray]:
    """(features [number, 32], chances [number, members])."""
    level = rng.normal(-1.5 - 2.0 * (source == "harder"), 1.5, number)
    centre = rng.normal(0.7, 0.8, number)
    chances = 1 / (1 + np.exp(-(level[:, None] - (ALPHAS - centre[:, None]) ** 2 + 0.5)))
    x = rng.normal(0, 0.25, (number, 32))
    weight = 0.5 if source == "other source" else 1.0
    x[:, 0] += 0.25 * weight * level
    x[:, 1] += 0.4 * centre
    x[:, 16:] += 0.6 if source == "other source" else 0.0
    return x, chances


def figures(head, x: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Loss in nats a sample; calibration: expected error in points; regret of the choice; pass@K of the choice."""
    chances = np.clip(head.chances(x), 1e-6, 1 - 1e-6)
    loss = -(truth * np.log(chances) + (1 - truth) * np.log(1 - chances)).mean()
    edges = np.clip((chances * 10).astype(int), 0, 9)
    error = sum(
        (edges == each).mean() * abs(chances[edges == each].mean() - truth[edges == each].mean())
        for each in np.unique(edges)
    )
    chosen = truth[np.arange(len(x)), chances.argmax(axis=1)]
    regret = (truth.max(axis=1) - chosen).mean()
    return {
        "log-loss": float(loss),
        "calibration": 100 * float(error),
        "regret": 100 * float(regret),
        f"pass@{PASS_AT}": 100 * float((1 - (1 - chosen) ** PASS_AT).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--logged", type=int, default=300, help="problems in the log")
    parser.add_argument("--recorded", action="store_true", help="on recorded prompts instead")
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    if args.recorded:
        text = f"# Heads on recorded prompts\n\n{heads_recorded.ABOUT}\n\n{heads_recorded.tables()}\n"
        print(text)
        if args.save:
            (RESULTS / "heads-recorded.md").write_text(text)
        return
    sources = ("the same", "harder", "other source")
    rows: dict = {source: {name: [] for name in HEADS} for source in sources}
    spent: dict = dict.fromkeys(HEADS, 0.0)
    bounds = []
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        x, chances = problems(rng, args.logged, "the same")
        solved, tried = rng.binomial(TRIES, chances).astype(float), np.full(chances.shape, float(TRIES))
        tests = {source: problems(rng, 1000, source) for source in sources}
        for name, head_of in HEADS.items():
            head, began = head_of(), time.process_time()
            head.fit(x, solved, tried)
            spent[name] += time.process_time() - began
            for source, (features, truth) in tests.items():
                rows[source][name].append(figures(head, features, truth))
            if name == "implicit, state-driven":
                close = head.close(tests["the same"][0], 0.01).sum(axis=1).mean()
                bounds.append((head.certificate(), close))
    made = f"Made by `python -m bench.heads --seeds {args.seeds} --save`, which says what is simulated. "
    made += f"{args.logged} logged problems, {TRIES} samples of each of 5 members; means and 95 % intervals."
    lines = ["# Heads", "", made, ""]
    for source in sources:
        names = list(rows[source]["constant"][0])
        lines += [
            f"## Traffic: {source}",
            "",
            f"| head | {' | '.join(names)} |",
            "| --- " * (len(names) + 1) + "|",
        ]
        for name in HEADS:
            cells = []
            for figure in names:
                mean, half = interval([run[figure] for run in rows[source][name]])
                cells.append(
                    f"{mean:.3f} ± {half:.3f}" if figure == "log-loss" else f"{mean:.1f} ± {half:.1f}"
                )
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    fits = ", ".join(f"{name} {value / args.seeds:.2f}" for name, value in spent.items())
    bound, close = np.mean(bounds, axis=0)
    note = f"The state-driven model's certificate is {bound:.0f} logits per unit of a feature: with features known to "
    note += f"±0.01, {close:.1f} of 5 members cannot be told from the best."
    lines += [f"Seconds of CPU to fit: {fits}.", "", note, ""]
    text = "\n".join(lines)
    print(text)
    if args.save:
        (RESULTS / "heads.md").write_text(text)


if __name__ == "__main__":
    main()
