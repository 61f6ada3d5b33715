"""Where members lie relative to one another, by the weights of the checkpoints that they are made of.

On the line low..high two members are as far apart as their alphas; elsewhere as their weight vectors are, in the unit in
which low and high are 1 apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alpharay.router.draw import Member

Floats = NDArray[np.float64]


def placed(members: Sequence[Member]) -> Floats:
    """[members, dimensions]: a place for each, in which the distances are those of the weights."""
    if all(member.alpha is not None for member in members):
        return np.array([[member.alpha] for member in members], dtype=np.float64)
    points = [member.point for member in members]
    names = sorted({name for point in points for name in point})
    return np.array([[point.get(name, 0.0) for name in names] for point in points]) / math.sqrt(2)


def along(members: Sequence[Member]) -> Floats:
    """[members]: how far each is on the way from low to high: its alpha, or where its weights fall on that line."""
    values = []
    for member in members:
        point = member.point
        on_line = (1 + point.get("high", 0.0) - point.get("low", 0.0)) / 2
        values.append(on_line if member.alpha is None else member.alpha)
    return np.array(values, dtype=np.float64)


def distances(here: Floats, there: Floats) -> Floats:
    """[here, there]: between places of the same members' `placed`."""
    return np.asarray(np.sqrt(((here[:, None, :] - there[None, :, :]) ** 2).sum(axis=-1)))


def to_high(member: Member) -> float:
    """How far a member is from the checkpoint `high`."""
    if member.alpha is not None:
        return abs(member.alpha - 1)
    point = member.point
    away = {name: point.get(name, 0.0) - (name == "high") for name in point.keys() | {"high"}}
    return math.sqrt(sum(value**2 for value in away.values()) / 2)


def spread_out(distance: Floats, number: int) -> list[int]:
    """Members that lie far from one another, at most `number`: each next one is the farthest from those before."""
    chosen = [0]
    while len(chosen) < min(number, len(distance)):
        chosen.append(int(distance[:, chosen].min(axis=1).argmax()))
    return chosen
