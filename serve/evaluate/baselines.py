"""Which members of an outcomes file are not of the frontier, but there to be compared with."""

from __future__ import annotations

from collections.abc import Sequence

from alpharay.merge.errors import UsageError
from alpharay.serve.spelling import did_you_mean

# Members with these name prefixes are baselines by default.
KNOWN = ("temporal", "temperature")


def baselines_of(members: Sequence[str], options: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Groups of members by the group's name.

    members: all members. options: `NAME=MEMBER,…` each, in addition to those that tell so by their own names:
    `temporal…`, `temperature…`, or `NAME:…`.

    Raises UsageError: a member is asked for that is not there.
    """
    groups: dict[str, list[str]] = {}
    taken = set()
    for option in options:
        name, equals, listed = option.partition("=")
        if not (equals and name and listed):
            raise UsageError(f"--baseline must be NAME=MEMBER,…, got {option!r}")
        for member in listed.split(","):
            if member not in members:
                raise UsageError(
                    f"--baseline {name}: there is no member {member!r}{did_you_mean(member, members)}"
                )
            groups.setdefault(name, []).append(member)
            taken.add(member)
    for member in members:
        if member not in taken and (group := _own_group(member)):
            groups.setdefault(group, []).append(member)
    return {name: tuple(dict.fromkeys(group)) for name, group in groups.items()}


def _own_group(member: str) -> str | None:
    prefix, colon, _ = member.partition(":")
    if colon and prefix:
        return prefix
    return next((name for name in KNOWN if member.lower().startswith(name)), None)
