"""The members of the served frontier: their names, and which of them a request means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from alpharay.router import Member
from alpharay.serve.errors import RequestError
from alpharay.serve.spelling import did_you_mean, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedMember:
    """One member. sha256: of what its engine loads. effective_alpha: what rounding left of alpha."""

    name: str
    alpha: float
    sha256: str
    effective_alpha: float

    @property
    def as_member(self) -> Member:
        return Member(name=self.name, alpha=self.alpha)


def member_name(frontier: str, alpha: float) -> str:
    """The model id that pins a member: `frontier@1.5`."""
    return f"{frontier}@{alpha:g}"


def find_member(members: Iterable[ServedMember], wanted: str | float) -> ServedMember | None:
    """A member by its full name, its alpha, or either spelled differently (`frontier@1.50`, "1.5", 1.5)."""
    text = str(wanted)
    for member in members:
        prefix = member.name.partition("@")[0] + "@"
        try:
            same = float(text.removeprefix(prefix)) == member.alpha
        except ValueError:
            same = False
        if same or text == member.name:
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
    found = []
    for one in wanted:
        member = find_member(members, one)
        if member is None:
            raise RequestError(
                400,
                f"alpharay.members: {shown(one)} is not served{did_you_mean(str(one), [m.name for m in members])}",
                param="alpharay.members",
            )
        found.append(member)
    return tuple(member for member in members if member in found)


def unknown_model(wanted: str, frontier: str, members: Iterable[ServedMember]) -> RequestError:
    """404: no model of that name is served."""
    known = [frontier, *(member.name for member in members)]
    return RequestError(
        404,
        f"the model {shown(wanted)} is not served here{did_you_mean(wanted, known)}",
        param="model",
        code="model_not_found",
    )
