"""The search's picture: expected shares of problems solved over the span, a panel for each number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alpharay.router.search.halving import Search
from alpharay.router.search.nested import Measured
from alpharay.router.search.points import Point
from alpharay.serve.evaluate.search.report import expected
from alpharay.serve.evaluate.search.rounds import Searched

_COLUMNS = 4


def draw(searched: Searched, search: Search, result: Measured, path: Path) -> None:
    """Two checkpoints: along the weight of the second. Three: contours over the weights of the second and the third.
    More: the weights of the two in which the members of the schedule differ most, the first left out, and no contours,
    since points that lie apart coincide. Stars: members of the schedule.
    """
    shares = {point: each for point, each in expected(search).items() if not isinstance(point, str)}
    points = list(shares)
    chosen = set(result.recommended)
    across, up = _axes(chosen or set(points))
    budgets = searched.plan.budgets
    columns = min(_COLUMNS, len(budgets))
    rows = -(-len(budgets) // columns)
    figure = Figure(figsize=(4.6 * columns, 4.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)  # no window system is asked for
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(budgets) :]:
        axes.set_axis_off()
    for axes, k in zip(panels, budgets, strict=False):
        values = [100 * shares[point][k] for point in points]
        if len(searched.names) == 2:
            _line(axes, points, values, chosen)
            axes.set_ylabel("expected solved, %")
        else:
            places = [(point[across], point[up]) for point in points]
            stars = [(point[across], point[up]) for point in chosen]
            _plane(figure, axes, places, values, stars, contours=len(searched.names) == 3)
            axes.set_ylabel(f"weight of {searched.names[up]}")
        axes.set_xlabel(f"weight of {searched.names[across]}")
        axes.set_title(f"{k} sample{'s' * (k > 1)}", fontsize=11)
    figure.savefig(path, dpi=130)


def _line(axes: Axes, points: Sequence[Point], values: Sequence[float], chosen: set[Point]) -> None:
    order = sorted(range(len(points)), key=lambda number: points[number][1])
    axes.plot([points[n][1] for n in order], [values[n] for n in order], marker=".", color="#1f5fa8")
    for n in order:
        if points[n] in chosen:
            axes.plot(points[n][1], values[n], marker="*", markersize=13, color="#ee8421")


def _axes(points: set[Point]) -> tuple[int, int]:
    """The numbers of the two checkpoints after the first whose weights differ most among the points, in their order."""
    spread = np.ptp(np.array(sorted(points))[:, 1:], axis=0)
    most = sorted(int(number) + 1 for number in np.argsort(-spread, kind="stable")[:2])
    return most[0], most[-1]


def _plane(
    figure: Figure,
    axes: Axes,
    places: Sequence[tuple[float, float]],
    values: Sequence[float],
    stars: Sequence[tuple[float, float]],
    *,
    contours: bool,
) -> None:
    across, up = np.array(places).T
    if contours and len(places) >= 3:
        shaded = axes.tricontourf(across, up, values, levels=12, cmap="viridis")
        figure.colorbar(shaded, ax=axes, label="expected solved, %")
        axes.plot(across, up, ".", color="black", markersize=4)
    else:
        shown = axes.scatter(across, up, c=values, cmap="viridis")
        figure.colorbar(shown, ax=axes, label="expected solved, %")
    axes.plot(*zip(*stars, strict=True), "*", markersize=13, color="#ee8421", markeredgecolor="black")
