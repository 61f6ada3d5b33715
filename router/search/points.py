"""Points of the affine span of named checkpoints: the initial lattice of a search, and neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

# The weight of each checkpoint, in the order of the checkpoints; they sum to 1.
Point = tuple[float, ...]

MOST_CHECKPOINTS = 8
BOUNDS = (-0.5, 1.5)
# From this many checkpoints on, a search starts with points that combine two checkpoints: four checkpoints have 68
# points otherwise, and each would get too few samples to be distinguished from the others.
_PAIRS_FROM = 4


def checkpoint(number: int, checkpoints: int) -> Point:
    """The point that is that checkpoint itself."""
    return tuple(float(number == other) for other in range(checkpoints))


def lattice(
    checkpoints: int,
    *,
    step: float = 0.5,
    bounds: tuple[float, float] = BOUNDS,
    most: int = 64,
    seed: int = 0,
) -> tuple[Point, ...]:
    """Every point whose weights are multiples of `step` within the bounds, the checkpoints first.

    Of four checkpoints and more, only the points that combine two: `neighbours` reach the others from there. Beyond `most`
    points some are left out by chance, never a checkpoint.

    Raises ValueError: fewer than two checkpoints, or so many that there is no lattice to speak of.
    """
    if not 2 <= checkpoints <= MOST_CHECKPOINTS:
        raise ValueError(f"a search needs between 2 and {MOST_CHECKPOINTS} checkpoints, got {checkpoints}")
    corners = [checkpoint(number, checkpoints) for number in range(checkpoints)]
    low, high = bounds
    steps = range(round(low / step), round(high / step) + 1)
    combined = 2 if checkpoints >= _PAIRS_FROM else checkpoints
    others = []
    for chosen in product(steps, repeat=checkpoints - 1):
        point = _rounded([1 - step * sum(chosen), *(step * number for number in chosen)])
        used = sum(weight != 0 for weight in point)
        if used <= combined and within(point, bounds) and point not in corners:
            others.append(point)
    room = max(0, most - len(corners))
    if len(others) > room:
        others = sorted(Random(seed).sample(others, room))
    return (*corners, *others)


def neighbours(point: Point, step: float, bounds: tuple[float, float] = BOUNDS) -> tuple[Point, ...]:
    """The points reached by moving `step` of weight from one checkpoint to another."""
    reached = []
    for giver, taker in product(range(len(point)), repeat=2):
        if giver != taker:
            weights = list(point)
            weights[giver] -= step
            weights[taker] += step
            moved = _rounded(weights)
            if within(moved, bounds):
                reached.append(moved)
    return tuple(reached)


def within(point: Point, bounds: tuple[float, float]) -> bool:
    return all(bounds[0] - 1e-9 <= weight <= bounds[1] + 1e-9 for weight in point)


def _rounded(weights: Sequence[float]) -> Point:
    return tuple(round(weight, 6) + 0.0 for weight in weights)  # + 0.0: no -0.0
