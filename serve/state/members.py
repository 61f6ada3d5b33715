"""The members of the served frontier: their names, and which of them a request means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from alpharay.merge.compute.span import line_weights
from alpharay.router import Member
from alpharay.serve.errors import RequestError
from alpharay.serve.spelling import did_you_mean, shown

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedMember:
    """One member.

    alpha: where it lies on the line low..high; None elsewhere. sha256: of what its engine loads. weights: of the named
    checkpoints, those of alpha when left out. effective_alpha, effective_weights: what rounding left of them.
    as_member: as the router knows it. origin: its fields in every answer.
    """

    name: str
    alpha: float | None
    sha256: str
    effective_alpha: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    effective_weights: Mapping[str, float] = field(default_factory=dict)
    as_member: Member = field(init=False, repr=False, compare=False)
    origin: Json = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.weights and self.alpha is not None:
            object.__setattr__(self, "weights", line_weights(self.alpha))
        if not self.effective_weights and self.effective_alpha is not None:
            object.__setattr__(self, "effective_weights", line_weights(self.effective_alpha))
        member = Member(name=self.name, alpha=self.alpha, weights=tuple(self.weights.items()))
        object.__setattr__(self, "as_member", member)
        origin = {
            "member": self.name,
            "alpha": self.alpha,
            "weights": dict(self.weights),
            "checkpoint": self.sha256,
        }
        object.__setattr__(self, "origin", origin)

    @property
    def note(self) -> Json:
        """The member's entry in `/v1/models`."""
        return {
            "kind": "member",
            "alpha": self.alpha,
            "weights": dict(self.weights),
            "effective_alpha": self.effective_alpha,
            "effective_weights": dict(self.effective_weights),
            "checkpoint": self.sha256,
        }

    @property
    def labels(self) -> list[str]:
        """Of the metric `checkpoint_info`: member, alpha (empty where it has none), weights, sha256."""
        alpha = "" if self.alpha is None else f"{self.alpha:g}"
        weights = ",".join(f"{name}={weight:g}" for name, weight in self.weights.items())
        return [self.name, alpha, weights, self.sha256]


def member_name(frontier: str, alpha: float) -> str:
    """The model id that pins the member at an alpha: `frontier@1.5`."""
    return f"{frontier}@{alpha:g}"


def find_member(members: Iterable[ServedMember], wanted: str | float) -> ServedMember | None:
    """A member by its full name, the part of it behind the @, its alpha, or that spelled differently.

    `frontier@wide`, "wide", `frontier@1.50`, "1.5", 1.5.
    """
    text, members = str(wanted), list(members)
    for member in members:
        if text in (member.name, member.name.partition("@")[2]):
            return member
    for member in members:
        prefix = member.name.partition("@")[0] + "@"
        try:
            same = float(text.removeprefix(prefix)) == member.alpha
        except ValueError:
            same = False
        if same:
            return member
    return None


def members_asked(
    members: tuple[ServedMember, ...], wanted: list[str | float] | None
) -> tuple[ServedMember, ...]:
    """The subset a request names, in the frontier's order; all when it names none.

    Raises RequestError (400): one of them is not served here.
    """
    if wanted is None:
        return members
    chosen = []
    for name in wanted:
        member = find_member(members, name)
        if member is None:
            raise RequestError(
                400,
                f"alpharay.members: {shown(name)} is not served{did_you_mean(str(name), [m.name for m in members])}",
                param="alpharay.members",
            )
        chosen.append(member)
    return tuple(member for member in members if member in chosen)


def unknown_model(wanted: str, frontier: str, members: Iterable[ServedMember]) -> RequestError:
    """404: no model of that name is served."""
    known = [frontier, *(member.name for member in members)]
    return RequestError(
        404,
        f"the model {shown(wanted)} is not served here{did_you_mean(wanted, known)}",
        param="model",
        code="model_not_found",
    )
