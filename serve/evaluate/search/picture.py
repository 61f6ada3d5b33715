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
    More: the same two weights without contours, since points that lie apart coincide. Stars: members of the schedule.
    """
    shares = {point: each for point, each in expected(search).items() if not isinstance(point, str)}
    points = list(shares)
    chosen = set(result.recommended)
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
            _plane(figure, axes, points, values, chosen, contours=len(searched.names) == 3)
            axes.set_ylabel(f"weight of {searched.names[2]}")
        axes.set_xlabel(f"weight of {searched.names[1]}")
        axes.set_title(f"{k} sample{'s' * (k > 1)}", fontsize=11)
    figure.savefig(path, dpi=130)


def _line(axes: Axes, points: Sequence[Point], values: Sequence[float], chosen: set[Point]) -> None:
    order = sorted(range(len(points)), key=lambda number: points[number][1])
    axes.plot([points[n][1] for n in order], [values[n] for n in order], marker=".", color="#1f5fa8")
    for n in order:
        if points[n] in chosen:
            axes.plot(points[n][1], values[n], marker="*", markersize=13, color="#ee8421")


def _plane(
    figure: Figure,
    axes: Axes,
    points: Sequence[Point],
    values: Sequence[float],
    chosen: set[Point],
    *,
    contours: bool,
) -> None:
    across, up = np.array([[point[1], point[2]] for point in points]).T
    if contours and len(points) >= 3:
        shaded = axes.tricontourf(across, up, values, levels=12, cmap="viridis")
        figure.colorbar(shaded, ax=axes, label="expected solved, %")
        axes.plot(across, up, ".", color="black", markersize=4)
    else:
        shown = axes.scatter(across, up, c=values, cmap="viridis")
        figure.colorbar(shown, ax=axes, label="expected solved, %")
    stars = [(x, y) for point, x, y in zip(points, across, up, strict=True) if point in chosen]
    axes.plot(*zip(*stars, strict=True), "*", markersize=13, color="#ee8421", markeredgecolor="black")
