"""The audit's picture: why members fail, and what more samples solve."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alpharay.router.audit import Audit

_Rgb = tuple[float, float, float]

_GREY, _BASELINE = "#555555", "#b04a4a"


def draw(result: Audit, path: Path) -> None:
    """Left: each member's correctness failures against its efficiency failures, joined along alpha, with 95 %
    intervals; members off the line low..high have their names. Right: the share of problems solved against samples.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)  # no window system is asked for
    left, right = figure.subplots(1, 2)
    _failures(left, result)
    _solved(right, result)
    figure.savefig(path, dpi=150)


def _failures(axes: Axes, result: Audit) -> None:
    points = [
        (100 * member.inefficient.value, 100 * member.incorrect.value, member, name)
        for name, member in result.members.items()
    ]
    on_line = [p for p in points if p[3] in result.frontier and p[2].alpha is not None]
    axes.plot(
        [x for x, *_ in on_line], [y for _, y, *_ in on_line], color=_GREY, linewidth=1, alpha=0.6, zorder=1
    )
    for x, y, member, name in points:
        frontier = name in result.frontier
        reach = [
            [[100 * (part.value - part.low)], [100 * (part.high - part.value)]]
            for part in (member.inefficient, member.incorrect)
        ]
        axes.errorbar(
            x, y, xerr=reach[0], yerr=reach[1], fmt=_marker(member.alpha) if frontier else "x", linewidth=0.8,
            zorder=2, color=_color(name, result) if frontier else _BASELINE,
        )  # fmt: skip
        label = f"{member.alpha:g}" if frontier and member.alpha is not None else name.rpartition("@")[2]
        axes.annotate(label, (x, y), xytext=(6, 6), textcoords="offset points", fontsize=9)
    axes.set_xlabel("samples over the time or memory limit, %")
    axes.set_ylabel("samples that are wrong, %")
    axes.set_title("Why members fail (numbers: alpha, else names)", fontsize=11)


def _solved(axes: Axes, result: Audit) -> None:
    for name, member in result.members.items():
        frontier = name in result.frontier
        axes.plot(
            list(member.pass_at), [100 * share for share in member.pass_at.values()], linewidth=1,
            marker=".", label=name, color=_color(name, result) if frontier else _BASELINE,
            linestyle="-" if frontier else ":",
        )  # fmt: skip
    for name, ensemble, style in [("uniform", result.uniform, "--"), ("portfolio", result.portfolio, "-")]:
        axes.plot(
            list(ensemble.pass_at), [100 * share for share in ensemble.pass_at.values()], color="black",
            linestyle=style, linewidth=1.8, label=name,
        )  # fmt: skip
    axes.set_xscale("log")
    budgets = sorted({k for member in result.members.values() for k in member.pass_at})
    axes.set_xticks(budgets, [str(k) for k in budgets])
    axes.minorticks_off()
    axes.set_xlabel("samples")
    axes.set_ylabel("problems solved, %")
    axes.set_title("Solved, at the same number of samples", fontsize=11)
    axes.legend(fontsize=8, ncols=2 if len(result.members) > 6 else 1)


def _marker(alpha: float | None) -> str:
    return "s" if alpha is None else "o"


def _color(name: str, result: Audit) -> _Rgb:
    """From blue at the frontier's lowest alpha to orange at its highest; greens off the line low..high."""
    alphas = {name: result.members[name].alpha for name in result.frontier}
    if alphas[name] is None:
        off = [other for other, alpha in alphas.items() if alpha is None]
        return _between((0.10, 0.45, 0.30), (0.55, 0.80, 0.35), off.index(name), 0, len(off) - 1)
    line = [alpha for alpha in alphas.values() if alpha is not None]
    return _between((0.12, 0.38, 0.68), (0.93, 0.52, 0.13), alphas[name] or 0.0, min(line), max(line))


def _between(first: _Rgb, last: _Rgb, value: float, low: float, high: float) -> _Rgb:
    share = (value - low) / (high - low) if low < high else 0.5
    red, green, blue = (a + share * (b - a) for a, b in zip(first, last, strict=True))
    return (red, green, blue)
