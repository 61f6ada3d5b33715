"""The store's log folded into a learner: from where, how far, and what of it cannot be learnt from.

Where a fold begins is written into the store by whoever is first, so that all replicas of the same members fold the
same rows. It begins at the newest rows of the members' checkpoints, not at the log's start: what is older weighs next to
nothing, and there may be years of it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alpharay.router import Learner, LoggedOutcome
from alpharay.router.learn.learner import VERSION
from alpharay.serve.learn.store import Logged, Store, UnknownRequest

log = logging.getLogger("ray.serve")

# The bandit forgets a row within 2000 others, the mixture looks at the latest 256 requests.
NEWEST_ROWS = 20_000
SNAPSHOT_EVERY = 2000


def view_of(checkpoints: Mapping[str, str]) -> str:
    """What servers of the same members, which can read each other's snapshots, have in common."""
    return hashlib.sha256(repr((VERSION, sorted(checkpoints.items()))).encode()).hexdigest()


class Fold:
    """What is learnt of these checkpoints (by member name), up to the row `seq`.

    skipped: called for each row that could not be learnt from.
    """

    def __init__(self, checkpoints: Mapping[str, str], skipped: Callable[[], None] = lambda: None) -> None:
        self._checkpoints = checkpoints
        self.view = view_of(checkpoints)
        self._skipped = skipped
        self._told = False
        self._since_snapshot = 0
        self.learner = Learner()
        self.seq = 0

    def open(self, store: Store) -> None:
        """Goes on from the newest snapshot that can be read; else begins with the newest rows."""
        if not any(self._restored(*snapshot) for snapshot in store.snapshots(self.view)):
            start = store.start_of_newest(list(self._checkpoints.values()), NEWEST_ROWS)
            self._restored(*store.begin(self.view, start, Learner().snapshot()))

    def open_before(self, store: Store, folded: int) -> None:
        """Goes on from the newest snapshot that had learnt from at most so many rows, all later ones being kept.

        Raises UnknownRequest: there is none.
        """
        start = store.pruned_through()
        for seq, state in store.snapshots(self.view):
            if seq >= start and state.get("folded", 0) <= folded and self._restored(seq, state):
                return
        if start:
            raise UnknownRequest("the rows from which that was learnt are not kept any more")

    def next_rows(self, store: Store) -> list[Logged]:
        """Rows of these checkpoints only: other checkpoints may have years of rows in the log."""
        return store.log(self.seq, checkpoints=list(self._checkpoints.values()))

    def learn(self, rows: Sequence[Logged]) -> None:
        """Takes the next rows; one that cannot be learnt from is passed over."""
        for row in rows:
            self.seq = row.seq
            if row.logged is None:
                self._pass_over(row.seq, row.fault)
                continue
            # Another member may have had the same checkpoint; its rows carry its own name.
            if self._checkpoints.get(row.logged.member) != row.checkpoint:
                continue
            self._since_snapshot += 1
            self.take(row.logged)

    def take(self, logged: LoggedOutcome) -> None:
        """Learns from one of these checkpoints' rows, or passes it over."""
        try:
            self.learner.learn(logged)
        except Exception as error:
            self._pass_over(self.seq, f"{type(error).__name__}: {error}")

    def keep(self, store: Store) -> None:
        """Writes a snapshot when one is due."""
        if self._since_snapshot >= SNAPSHOT_EVERY:
            store.keep_snapshot(self.view, self.seq, self.learner.snapshot())
            self._since_snapshot = 0

    def _restored(self, seq: int, state: Mapping[str, Any]) -> bool:
        learner = Learner()
        try:
            learner.restore(state)
        except Exception as error:
            log.warning("a snapshot of what was learnt cannot be read: %s: %s", type(error).__name__, error)
            return False
        self.seq, self.learner = seq, learner
        return True

    def _pass_over(self, seq: int, fault: str) -> None:
        self._skipped()
        if not self._told:  # the others are counted
            log.error("row %d of the store's log cannot be learnt from and is passed over: %s", seq, fault)
        self._told = True


def folded_to(store: Store, checkpoints: Mapping[str, str], folded: int) -> Learner:
    """What a replica knew when it had learnt from that many rows.

    checkpoints: per member name, what it served. Raises UnknownRequest: those rows are not in the store (any more).
    """
    fold = Fold(checkpoints)
    fold.open_before(store, folded)
    while fold.learner.folded < folded:
        rows = fold.next_rows(store)
        if not rows:
            raise UnknownRequest(f"the log has {fold.learner.folded} rows of these members, not {folded}")
        for row in rows:
            if fold.learner.folded < folded:
                fold.learn([row])
    return fold.learner
