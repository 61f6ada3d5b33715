"""The named checkpoints of a configuration and its members, which are points of their affine span."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, field_validator

from alpharay.merge.compute.span import check_weights, line_alpha, line_weights
from alpharay.merge.errors import UsageError
from alpharay.merge.write.journal import NAME as JOURNAL
from alpharay.merge.write.target import MANIFEST
from alpharay.router import MAX_MEMBERS
from alpharay.serve.sections import Section
from alpharay.serve.spelling import did_you_mean, shown

# A name is part of URLs, model ids, folders and metrics.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_GOOD_NAME = "letters, digits, '.', '_' and '-', a letter or digit first, 64 at most"


class AdapterCheckpoint(Section):
    """The checkpoint that a PEFT LoRA adapter makes of its base, another checkpoint by its name."""

    adapter: Path
    base: str


class NamedMember(Section):
    """A member by the weights of checkpoints, which sum to 1."""

    name: str
    weights: dict[str, Annotated[float, Field(strict=True, allow_inf_nan=False)]]

    @field_validator("name")
    @classmethod
    def _good_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"{value!r} cannot be part of a model id; use {_GOOD_NAME}")
        if value in (MANIFEST, JOURNAL):  # the member's folder lies beside it
            raise ValueError(f"{value!r} is the name of a file that a merge writes; use another")
        return value


def _kind(mapping: str, other: str) -> Any:
    return Discriminator(lambda value: mapping if isinstance(value, Mapping | BaseModel) else other)


Checkpoint = Annotated[
    Annotated[Path, Tag("path")] | Annotated[AdapterCheckpoint, Tag("adapter")], _kind("adapter", "path")
]


def _number_or_name(value: Any) -> Any:
    if isinstance(value, str) and math.isnan(_number(value)) and value.strip().lower() != "nan":
        raise ValueError(
            f"{shown(value)} is no number; give a member off the line low..high as {{name, weights}}"
        )
    return value


MemberEntry = Annotated[
    Annotated[float, BeforeValidator(_number_or_name), Tag("alpha")] | Annotated[NamedMember, Tag("weights")],
    _kind("weights", "alpha"),
]
# What pydantic adds to the location of an error, and no user wrote.
TAGS = ("path", "adapter", "alpha", "weights")


@dataclass(frozen=True, slots=True)
class Point:
    """One member as it is configured. alpha: where it lies on the line low..high; None elsewhere."""

    name: str
    weights: Mapping[str, float]

    @property
    def alpha(self) -> float | None:
        return line_alpha(self.weights)


def point_of(entry: float | NamedMember) -> Point:
    if isinstance(entry, NamedMember):
        return Point(entry.name, {name: weight for name, weight in entry.weights.items() if weight})
    return Point(f"{entry:g}", line_weights(entry))


def check_members(entries: tuple[float | NamedMember, ...]) -> tuple[float | NamedMember, ...]:
    """The members in the frontier's order: numbers as they rise, then those with names. Raises ValueError."""
    if not 1 <= len(entries) <= MAX_MEMBERS:
        raise ValueError(f"between 1 and {MAX_MEMBERS} members can be served, got {len(entries)}")
    numbers = [entry for entry in entries if not isinstance(entry, NamedMember)]
    for alpha in numbers:
        if not math.isfinite(alpha):
            raise ValueError(f"an alpha must be a finite number, got {alpha}")
        if [f"{other:g}" for other in numbers].count(f"{alpha:g}") > 1:
            raise ValueError(f"alpha {alpha:g} is named twice (six digits count)")
    names = [entry.name for entry in entries if isinstance(entry, NamedMember)]
    for name in names:
        number = _number(name)
        if names.count(name) > 1 or any(f"{alpha:g}" == f"{number:g}" for alpha in numbers):
            raise ValueError(f"the name {name!r} is used twice; give each member its own")
        if not math.isnan(number):
            raise ValueError(f"the name {name!r} reads as an alpha; start it with a letter, such as p{name}")
    named = [entry for entry in entries if isinstance(entry, NamedMember)]
    return (*sorted(numbers), *named)


def check_span(
    checkpoints: Mapping[str, Path | AdapterCheckpoint], entries: tuple[float | NamedMember, ...]
) -> None:
    """Raises ValueError: a checkpoint's name or base cannot be used, or a member is no point of their span."""
    for name, checkpoint in checkpoints.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"checkpoints: the name {name!r} cannot be used; use {_GOOD_NAME}")
        if isinstance(checkpoint, AdapterCheckpoint):
            if checkpoint.base not in checkpoints:
                raise ValueError(
                    f"checkpoints.{name}.base: there is no checkpoint {checkpoint.base!r}"
                    f"{did_you_mean(checkpoint.base, checkpoints)}"
                )
            if isinstance(checkpoints[checkpoint.base], AdapterCheckpoint):
                raise ValueError(  # noqa: TRY004 - pydantic reads values' errors
                    f"checkpoints.{name}.base: {checkpoint.base!r} is itself an adapter; name a full checkpoint"
                )
    for entry in entries:
        if isinstance(entry, NamedMember):
            try:
                check_weights(entry.weights, checkpoints)
            except UsageError as error:
                raise ValueError(f"members: {entry.name}: {error}") from None
        elif missing := [end for end in ("low", "high") if end not in checkpoints]:
            raise ValueError(
                f"members: {entry:g} is a point of the line low..high, and there is no checkpoint "
                f"{' and no '.join(missing)}; name {'them' if len(missing) > 1 else 'it'} under `checkpoints`, or "
                "give members as {name, weights}"
            )


def _number(name: str) -> float:
    """The number that a name reads as; NaN where it reads as none."""
    try:
        return float(name)
    except ValueError:
        return math.nan
