"""Which problems which member solves, whether members solve different ones, and what choosing by family is worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.frontier.figures import Floats, Set

KINDS = {
    "low limits, easy": (False, False),
    "low limits, hard": (False, True),
    "high limits, easy": (True, False),
    "high limits, hard": (True, True),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """large: limits that only the fast way keeps. hard: the fast way has more to get wrong."""

    family: str
    large: bool
    hard: bool


def kinds_of(*paths: Path) -> dict[str, Kind]:
    """By problem, from files of problems that the generator made."""
    raws = (json.loads(line) for path in paths for line in path.read_text().splitlines())
    return {raw["id"]: Kind(raw["family"], raw["large"], raw["hard"]) for raw in raws}


def by_kind(kinds: dict[str, Kind], problems: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """For each of KINDS that is there, which of the problems are of it."""
    masks = {
        label: np.array([(kinds[name].large, kinds[name].hard) == wanted for name in problems])
        for label, wanted in KINDS.items()
    }
    return {label: chosen for label, chosen in masks.items() if chosen.any()}


def by_family(kinds: dict[str, Kind], problems: Sequence[str], values: Floats) -> tuple[list[str], Floats]:
    """values: [problems, members] -> the families, and their means over problems, [families, members].

    Families in the order of the member at which the values of each have their centre.
    """
    family = np.array([kinds[name].family for name in problems])
    names = sorted(set(family))
    means = np.stack([values[family == name].mean(axis=0) for name in names])
    centre = means @ np.arange(means.shape[1]) / np.maximum(means.sum(axis=1), 1e-12)
    order = np.argsort(np.where(means.sum(axis=1) > 0, centre, np.inf), kind="stable")
    return [names[at] for at in order], means[order]


def best_by_family(
    validation: Set, test: Set, families: tuple[Sequence[str], Sequence[str]], names: Sequence[str], k: int
) -> Floats:
    """[test problems], solved by k samples of the member that solves most of the family's validation problems.

    families: of the problems of either set. Of members that solve as many, the one that is best on all families.
    """
    alone = np.stack([validation.alone(name, k) for name in names], axis=1)
    overall = alone.mean(axis=0)
    chosen = {}
    for family in set(families[0]):
        mine = alone[np.array(families[0]) == family].mean(axis=0)
        chosen[family] = names[max(range(len(names)), key=lambda at: (mine[at], overall[at]))]
    return np.array([test.alone(chosen[family], k)[at] for at, family in enumerate(families[1])])


def solved_by(sorted_on: Set, first: str, second: str) -> dict[str, NDArray[np.bool_]]:
    """Problems by which of two members solved them at least once."""
    solved = [sorted_on.counts[:, sorted_on.names.index(name), 1] > 0 for name in (first, second)]
    return {
        "both": solved[0] & solved[1],
        f"only `{first}`": solved[0] & ~solved[1],
        f"only `{second}`": ~solved[0] & solved[1],
        "neither": ~solved[0] & ~solved[1],
    }
