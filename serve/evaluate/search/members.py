"""Points of a search as members of a configuration, and configurations over them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from alpharay.router.search.points import Point
from alpharay.serve.config import Config
from alpharay.serve.span import AdapterCheckpoint, NamedMember

Checkpoints = Mapping[str, Path | AdapterCheckpoint]

_LONGEST_NAME = 64


def member_of(point: Point, names: Sequence[str]) -> float | NamedMember:
    """The member at a point: an alpha on the line low..high, else a name that tells the weights.

    names: of the checkpoints, in the order of the point's weights.
    """
    weights = {name: weight for name, weight in zip(names, point, strict=True) if weight}
    if weights.keys() <= {"low", "high"} and {"low", "high"} <= set(names):
        return weights.get("high", 0.0)
    name = next(iter(weights)) if len(weights) == 1 else "_".join(f"{n}{w:g}" for n, w in weights.items())
    return NamedMember(name=good_name(name), weights=weights)


def good_name(name: str) -> str:
    """As a member may be called: not too long, and nothing that reads as an alpha."""
    if len(name) >= _LONGEST_NAME:
        name = hashlib.sha256(name.encode()).hexdigest()[:12]
    try:
        float(name)
    except ValueError:
        return name if name[0].isalpha() else f"p{name}"
    return f"p{name}"


def name_of(member: float | NamedMember, frontier: str) -> str:
    """`frontier@0.5`, `frontier@init0.5_high0.5`"""
    return f"{frontier}@{member.name if isinstance(member, NamedMember) else f'{member:g}'}"


def with_members(config: Config, checkpoints: Checkpoints, members: Sequence[float | NamedMember]) -> Config:
    """The configuration with these members in one engine that moves between them, so that nothing is written.

    Adapters stay in one batch where the configuration hosts them so. Raises pydantic's ValidationError.
    """
    return Config(
        name=config.name,
        checkpoints=dict(checkpoints),
        members=tuple(members),
        allow_config=config.differing_config,
        hosting="adapters" if config.hosting == "adapters" else "shift",
        engine=config.engine,
        judge=config.judge,
        server=config.server,
    )
