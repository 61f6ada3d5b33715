"""The tables and the plot of docs/results.md on problems of several parts, from the outcomes files alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from alpharay.router.passk import budgets_up_to
from bench.frontier.parts.compare import ENSEMBLES, SINGLES, Compared, compared
from bench.frontier.parts.draw import COUNTS
from bench.frontier.parts.outcomes import Counted, Floats, path_of, read

mpl.use("Agg")
from matplotlib import pyplot as plt

BEGIN, END = "<!-- parts: written by `make results KIND=parts`, from here -->", "<!-- parts: to here -->"
PLOTTED = (20, 100)  # samples
COLOURS = {"{0, 1}": "#1f4e79", "the split": "#b5651d", "the schedule": "#2e7d5b"}

GATE = """The go / no-go, before the evaluation: with H = -log(1 - p), what a sample of alpha 0.5 is worth beside the mean of
the endpoints', on problems that fewer than 30 % of the samples solve."""

Results = Mapping[int, Sequence[Compared]]  # by the count of parts


def write(seed: int, folder: Path, page: Path) -> None:
    """Replaces what stands between the markers of the page.

    Raises SystemExit: the page has no markers, or a set was not evaluated.
    """
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page} has no place for this: it needs the lines {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{section(seed, folder)}\n\n{END}{rest.split(END)[1]}")


def section(seed: int, folder: Path) -> str:
    results: dict[int, Sequence[Compared]] = {}
    tests: dict[int, Counted] = {}
    tables = []
    for count in COUNTS:
        validation, test = (_read(path_of(folder, seed, count, name)) for name in ("validation", "test"))
        validation = validation.only(test.members)
        tests[count] = test
        most = int(min(test.samples.min(), validation.samples.min()))
        results[count] = compared(validation, test, [k for k in budgets_up_to(most) if k > 1])
        tables += [
            _heading(count, validation, test),
            solved_table(results[count]),
            gains_table(results[count]),
        ]
    plot(results, folder / f"parts-seed{seed}.png")
    return "\n\n".join(
        [
            GATE,
            gate_table(json.loads((folder / f"parts-seed{seed}-gate.json").read_text())),
            f"![gain against parts](../bench/results/frontier/parts-seed{seed}.png)",
            "Samples that pass under low and under high limits, percent:",
            limits_table(tests),
            *tables,
        ]
    )


def _read(path: Path) -> Counted:
    if not path.exists():
        raise SystemExit(f"{path} is missing: `python -m bench.frontier evaluate --kind parts` makes it")
    return read(path)


def _heading(count: int, validation: Counted, test: Counted) -> str:
    sizes = [
        f"{2 * len(each.samples)} problems, {int(each.samples.min())} samples" for each in (test, validation)
    ]
    parts = "1 part" if count == 1 else f"{count} parts"
    return f"### {parts}\n\nTest: {sizes[0]} of each member. Validation: {sizes[1]}. Solved with k samples, percent:"


def gate_table(gates: Sequence[dict[str, object]]) -> str:
    rows = ["| parts | H(.5) / mean(H(0), H(1)) | problems | fast parts at 0, .5, 1 | all parts one way at .5 (if independent) |",
            "|" + " --- |" * 5]  # fmt: skip
    for each in gates:
        low, high = each["interval"]
        alike, apart = each["alike"]["frontier@0.5"]
        fast = ", ".join(f"{100 * share:.0f} %" for share in each["fast"].values())
        rows.append(
            f"| {each['parts']} | {each['ratio']:.2f} [{low:.2f}, {high:.2f}] | {each['problems']} | {fast} | "
            f"{100 * alike:.0f} % ({100 * apart:.0f} %) |"
        )
    return "\n".join(rows)


def limits_table(tests: Mapping[int, Counted]) -> str:
    heads = [f"{count}, {limits}" for count in tests for limits in ("low", "high")]
    shares = {count: (test.solved / test.samples).mean(axis=0) for count, test in tests.items()}
    names = dict.fromkeys(name for test in tests.values() for name in test.members)
    rows = [[f"`{name}`", *(cell for count in tests for cell in _cells(tests[count], shares[count], name))]
            for name in names]  # fmt: skip
    return _table(["parts, limits", *heads], rows)


def _cells(test: Counted, shares: Floats, name: str) -> list[str]:
    """Of a member under low and under high limits; empty where it was not sampled."""
    if name not in test.members:
        return ["", ""]
    return [f"{100 * share:.1f}" for share in shares[:, test.members.index(name)]]


def solved_table(results: Sequence[Compared]) -> str:
    rows = [
        [f"**{way}**", *(f"**{100 * each.shares[way][0]:.1f}**" for each in results)] for way in ENSEMBLES
    ]
    rows += [
        [f"`{name}`", *(f"{100 * each.members[name]:.1f}" for each in results)] for name in results[0].members
    ]
    rows.append(["what the split is", *(_split(each.split, each.k) for each in results)])
    return _table(["", *(f"k = {each.k}" for each in results)], rows)


def _split(split: Mapping[str, int], k: int) -> str:
    return ", ".join(f"{100 * n / k:.0f} % {name.removeprefix('frontier@')}" for name, n in split.items())


def gains_table(results: Sequence[Compared]) -> str:
    rows = []
    for way in ENSEMBLES:
        for than in SINGLES:
            cells = []
            for each in results:
                mean, low, high = each.gain(way, than)
                name = each.names[SINGLES.index(than)] if than in SINGLES[:2] else ""
                cells.append(
                    f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
                    + (f" ({name.removeprefix('frontier@')})" if name else "")
                )
            rows.append([f"{way}, against {than}", *cells])
    return "In points, with 95 % intervals:\n\n" + _table(["", *(f"k = {each.k}" for each in results)], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def plot(results: Results, path: Path) -> None:
    """Gain of the ensembles against the number of parts, over the single by validation and the best with hindsight."""
    budgets = [k for k in PLOTTED if all(any(each.k == k for each in own) for own in results.values())]
    figure, grid = plt.subplots(
        2,
        len(budgets),
        figsize=(4.2 * len(budgets), 6.4),
        sharey=True,
        squeeze=False,
        constrained_layout=True,
    )
    for row, than in zip(grid, SINGLES[:2], strict=True):
        for axes, k in zip(row, budgets, strict=True):
            for shift, way in enumerate(ENSEMBLES):
                gains = [
                    next(each for each in own if each.k == k).gain(way, than) for own in results.values()
                ]
                mean, low, high = np.array(gains).T
                axes.errorbar(
                    np.arange(len(gains)) + 0.12 * (shift - 1), mean, [mean - low, high - mean],
                    fmt="o", capsize=3, color=COLOURS[way], label=way,
                )  # fmt: skip
            axes.axhline(0, color="#888888", linewidth=0.8)
            axes.set_xticks(range(len(results)), [str(count) for count in results])
            axes.set(xlabel="parts", title=f"k = {k}")
        row[0].set_ylabel(f"points over {than}")
    grid[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
