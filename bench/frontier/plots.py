"""The plots of docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from bench.frontier.figures import Floats, Set, best_single, best_split, interval

mpl.use("Agg")
from matplotlib import pyplot as plt

mpl.rcParams["figure.constrained_layout.use"] = True

LABELS = {"wise-ft low": "WiSE-FT low", "wise-ft high": "WiSE-FT high", "expo low": "ExPO low", "expo high": "ExPO high", "exme": "ExMe", "init": "init"}  # fmt: skip


COLOURS = {"adapters": "#2e7d5b", "logits": "#8e3b6f"}


def frontier_plot(
    test: Set, names: Sequence[str], others: Set | None, lines: Mapping[str, Set], path: Path, title: str
) -> None:
    """Efficiency failures against correctness failures: the line over alpha, other mergings as points.

    lines: other ways to make members at an alpha, by their names in COLOURS.
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.4))
    columns = test.columns(names)
    x, y = (100 * values[:, columns].mean(axis=0) for values in (test.incorrect, test.inefficient))
    axes.plot(x, y, "o-", color="#1f4e79", label="weights")
    for name, at, up in zip(names, x, y, strict=True):
        axes.annotate(
            name.removeprefix("frontier@"), (at, up), textcoords="offset points", xytext=(5, 4), fontsize=8
        )
    for label, line in lines.items():
        across, above = (100 * values.mean(axis=0) for values in (line.incorrect, line.inefficient))
        axes.plot(across, above, "^:", color=COLOURS[label], markersize=4, linewidth=1, label=label)
        for alpha, at, up in zip(line.alphas, across, above, strict=True):
            axes.annotate(
                f"{alpha:g}",
                (at, up),
                textcoords="offset points",
                xytext=(5, -9),
                fontsize=7,
                color=COLOURS[label],
            )
    axes.legend(fontsize=8)
    for name, label in LABELS.items():
        if others is not None and name in others.names:
            column = others.names.index(name)
            point = 100 * others.incorrect[:, column].mean(), 100 * others.inefficient[:, column].mean()
            axes.plot(*point, "s", color="#b5651d", markersize=4)
            axes.annotate(
                label, point, textcoords="offset points", xytext=(5, -9), fontsize=7, color="#b5651d"
            )
    axes.set(
        xlabel="samples that are wrong or broken, %", ylabel="samples that run out of time, %", title=title
    )
    _save(figure, path)


def pass_plot(test: Set, names: Sequence[str], path: Path, title: str) -> None:
    """pass@k of every alpha."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4))
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.92, len(names)))
    ks = np.unique(np.round(np.geomspace(1, test.failures.shape[0] - 1, 40)).astype(int))
    for name, colour in zip(names, colours, strict=True):
        axes.plot(
            ks,
            [100 * test.alone(name, k).mean() for k in ks],
            color=colour,
            label=name.removeprefix("frontier@"),
        )
    axes.set(xscale="log", xlabel="k samples", ylabel="problems solved, %", title=f"pass@k, {title}")
    axes.legend(title="alpha", fontsize=8)
    _save(figure, path)


def families_plot(
    families: Sequence[str], values: Floats, names: Sequence[str], path: Path, title: str
) -> None:
    """pass@1 of every family under every alpha, [families, members]; in two columns, or it would be a metre high."""
    half = -(-len(families) // 2)
    figure, columns = plt.subplots(1, 2, figsize=(8.6, 6.4))
    for axes, start in zip(columns, (0, half), strict=True):
        part = values[start : start + half]
        shown = axes.imshow(100 * part, aspect="auto", cmap="viridis", vmin=0, vmax=100)
        axes.set_yticks(range(len(part)), families[start : start + half], fontsize=7)
        axes.set_xticks(range(len(names)), [name.removeprefix("frontier@") for name in names], fontsize=7)
        axes.set_xlabel("alpha")
    figure.colorbar(shown, ax=columns, label="samples that pass, %", fraction=0.03)
    figure.suptitle(f"pass@1 by family, {title}")
    _save(figure, path)


def ensemble_plot(validation: Set, test: Set, names: Sequence[str], path: Path, title: str) -> None:
    """What ensembles gain at the same k, with intervals."""
    figure, axes = plt.subplots(figsize=(6.4, 4.0))
    ks = [k for k in test.budgets if k >= 5]
    served = [
        name
        for name in names
        if name in {"frontier@-0.5", "frontier@0", "frontier@0.5", "frontier@1", "frontier@1.5"}
    ]
    for shift, (label, colour) in enumerate(
        (("uniform, five served", "#1f4e79"), ("optimal split", "#b5651d"))
    ):
        gains = []
        for k in ks:
            alone = test.alone(best_single(validation, names, k), k)
            ours = (
                test.together(served, k) if not shift else test.split(best_split(validation, test, names, k))
            )
            gains.append(interval(ours - alone))
        mean, low, high = 100 * np.array(gains).T
        axes.errorbar(
            np.arange(len(ks)) + 0.12 * shift,
            mean,
            [mean - low, high - mean],
            fmt="o",
            color=colour,
            label=label,
            capsize=3,
        )
    axes.axhline(0, color="#888888", linewidth=0.8)
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set(xlabel="k samples", ylabel="points over the best single alpha", title=title)
    axes.legend(fontsize=8)
    _save(figure, path)


def _save(figure: object, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)
