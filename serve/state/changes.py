"""Changes of a running server: who ordered them, and their progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

_KEPT = 8


class ChangePhase(StrEnum):
    """Phases in order; the last two end a change early. REFUSED: before anything started."""

    WAITING = "waiting"
    CHECKING = "checking"
    PREPARING = "preparing"
    MOVING = "moving"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


_OVER = frozenset({ChangePhase.DONE, ChangePhase.REFUSED, ChangePhase.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Checkpoints to move to. checkpoints: folders by the checkpoint's name; those left out stay."""

    id: str
    checkpoints: Mapping[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How far a change has come. It follows an order, or a configuration that was read again.

    checkpoints: the order's. moved, hosts: groups of engines that have moved, and that are to move. message: the last
    progress message. error: why it ended early, and what is served since.
    """

    id: str
    phase: ChangePhase
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    moved: int = 0
    hosts: int = 0
    message: str = ""
    error: str = ""

    @property
    def over(self) -> bool:
        return self.phase in _OVER


class Changes:
    """The latest changes, of which one at a time is under way."""

    def __init__(self) -> None:
        self._changes: dict[str, Change] = {}
        self._order: Order | None = None

    def ask(self, order: Order) -> Change:
        """Gives the change that the order begins, or the one that is under way, which has another id."""
        for change in self._changes.values():
            if not change.over:
                return change
        self._order = order
        waiting = Change(id=order.id, phase=ChangePhase.WAITING, checkpoints=order.checkpoints)
        self.report(waiting)
        return waiting

    def pending(self) -> Order | None:
        """The order that has not been started yet."""
        change = self._changes.get(self._order.id) if self._order is not None else None
        return self._order if change is not None and change.phase is ChangePhase.WAITING else None

    def report(self, change: Change) -> None:
        self._changes[change.id] = change
        for known in list(self._changes)[:-_KEPT]:
            del self._changes[known]

    def latest(self) -> tuple[Change, ...]:
        """The oldest first."""
        return tuple(self._changes.values())
