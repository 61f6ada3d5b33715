"""Everything the router learns, as a fold over the store's log.

Each ingress replica folds the same rows in the same order and comes to the same state, so that nothing
learnt needs to be sent about, and a recorded request can be decided again as it was: fold the log up to
`Standing.folded` rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alpharay.router.experience import Experience, Fate
from alpharay.router.seeds import MAX_MEMBERS
from alpharay.router.standing import Standing

_VERSION = 1


class Learner:
    """Folds experiences in the order of the log. Not safe for several threads at once."""

    def __init__(self) -> None:
        self.folded = 0
        self._solved: dict[str, int] = {}
        self._judged: dict[str, int] = {}
        self._standing: Standing | None = None

    def learn(self, experience: Experience) -> None:
        """Takes the next row. One that teaches nothing is counted in `folded` all the same."""
        self.folded += 1
        self._standing = None
        fate = experience.fate
        if fate is None or (experience.member not in self._judged and len(self._judged) >= MAX_MEMBERS):
            return
        self._judged[experience.member] = self._judged.get(experience.member, 0) + 1
        self._solved[experience.member] = self._solved.get(experience.member, 0) + (fate is Fate.SOLVED)

    def standing(self) -> Standing:
        """An immutable view of what is known now; the same object until something is learnt."""
        if self._standing is None:
            self._standing = Standing(dict(self._solved), dict(self._judged), self.folded)
        return self._standing

    def snapshot(self) -> dict[str, Any]:
        """The whole state in plain JSON values, bounded in size whatever was folded."""
        return {
            "version": _VERSION,
            "folded": self.folded,
            "solved": dict(self._solved),
            "judged": dict(self._judged),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes the state of a snapshot. Raises ValueError for one of another version: fold the log anew."""
        if snapshot.get("version") != _VERSION:
            raise ValueError(
                f"the learnt state has version {snapshot.get('version')!r}, this program reads {_VERSION}: "
                "fold the log from its start"
            )
        self.folded = int(snapshot["folded"])
        self._solved = dict(snapshot["solved"])
        self._judged = dict(snapshot["judged"])
        self._standing = None
