"""What this replica has learnt: the store's log folded into a learner, and what it adds to that log.

Every replica writes what its own requests taught and, about once a second, folds what all of them wrote, in the
order of the log: all come to the same state. Nothing of it is in a request's way. While the store is down
requests are answered all the same; what they would have taught waits, up to a bound, and is then dropped and
counted.

Where a fold begins is written into the store by whoever is first, so that all replicas of the same members fold the
same rows. It begins at the newest rows of the members' checkpoints, not at the log's start: what is older weighs next to
nothing, and there may be years of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from alpharay.router import Candidate, Learner, LoggedOutcome, RouterState
from alpharay.router.learn.learner import VERSION
from alpharay.router.schedule import Recommendation
from alpharay.serve.learn.recording import RecordedSession
from alpharay.serve.learn.store import Feedback, Logged, Record, Store, StoreDown, UnknownRequest
from alpharay.serve.state.members import ServedMember
from alpharay.serve.state.metrics import Counts

log = logging.getLogger("ray.serve")

# The bandit forgets a row within 2000 others, the mixture looks at the latest 256 requests.
NEWEST_ROWS = 20_000
SNAPSHOT_EVERY = 2000
# Requests whose records may wait for the store, and draws of them all: a draw is about a kilobyte.
_MOST_WAITING, _MOST_DRAWS = 2000, 64_000
_BATCH = 200
_EVERY_S = 1.0
# How often old records are looked for; and between two batches of them, so that others can write meanwhile.
_FORGET_EVERY_S, _BETWEEN_S = 600.0, 0.05
# Another replica writes its records about once a second: feedback that is quicker waits for them.
_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which requests the store keeps. seconds: for how long; size: bytes of the newest ones. None: no limit."""

    seconds: float | None = None
    size: int | None = None

    @property
    def limited(self) -> bool:
        return self.seconds is not None or self.size is not None

    def oldest(self) -> float:
        """The Unix time of what has the largest age; 0: there is no limit of age."""
        return 0.0 if self.seconds is None else time.time() - self.seconds

    def start(self, store: Store) -> float:
        """The Unix time before which requests are deleted."""
        return self.oldest() if self.size is None else max(self.oldest(), store.start_within(self.size))


_NO_LIMITS = Retention()


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
        self._reported = False
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
            self.take([row.logged])

    def take(self, rows: Sequence[LoggedOutcome]) -> None:
        """Learns from rows of these checkpoints; passes over those that cannot be learnt from."""
        for logged in rows:
            try:
                self.learner.learn(logged)
            except Exception as error:
                self._pass_over(self.seq, f"{type(error).__name__}: {error}")

    def keep(self, store: Store, *, now: bool = False) -> None:
        """Writes a snapshot when one is due. now: as soon as anything was learnt since the last one."""
        if self._since_snapshot >= (1 if now else SNAPSHOT_EVERY):
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
        if not self._reported:  # the others are counted
            log.error("row %d of the store's log cannot be learnt from and is passed over: %s", seq, fault)
        self._reported = True


class Learning:
    """One ingress replica's part.

    store: None keeps what is learnt in memory, for this replica alone.
    portfolio: the schedule that an audit recommends. retention: what the store keeps.
    """

    def __init__(
        self,
        store: Store | None,
        members: Sequence[ServedMember],
        counts: Counts,
        *,
        portfolio: Recommendation | None = None,
        retention: Retention = _NO_LIMITS,
    ) -> None:
        self._store = store
        self._counts = counts
        self._checkpoints = {member.name: member.sha256 for member in members}
        self._fold = Fold(self._checkpoints, counts.skipped_rows.inc)
        self._retention = retention
        self._portfolio = portfolio or Recommendation()
        self._router_state = RouterState(portfolio=self._portfolio)
        self._waiting: deque[Record] = deque()
        self._draws = 0  # of those that wait
        self._busy = asyncio.Lock()
        self._opened = False
        self.down = ""

    @property
    def checkpoints(self) -> Mapping[str, str]:
        return self._checkpoints

    @property
    def forgets(self) -> bool:
        """Whether there is something for `forget_forever` to do."""
        return self._retention.limited

    def router_state(self) -> RouterState:
        """What is known now; the same object until something is learnt."""
        return self._router_state

    def fixed(self) -> RouterState:
        """What never changes while the server runs: for requests that are to be reproducible."""
        return RouterState(portfolio=self._portfolio)

    def record(
        self,
        request: str,
        session: RecordedSession,
        chosen: Sequence[Candidate],
        levels: Sequence[int | None] = (),
    ) -> None:
        """Takes a finished request. Returns at once: it is written later.

        chosen: the choices that are answered, in their order. levels: of the test cases.
        """
        rows = session.experiences(request, levels)
        if self._store is None:
            self._fold.take(rows)
            self._publish()
            return
        if len(self._waiting) >= _MOST_WAITING or self._draws >= _MOST_DRAWS:
            self._counts.store_records.labels("dropped").inc()
            return
        self._draws += len(session.draws)
        self._waiting.append(
            Record(
                request=request,
                trace=session.trace(self._checkpoints),
                choices=[candidate.draw.index for candidate in chosen],
                rows=rows,
                checkpoints=self._checkpoints,
            )
        )

    async def feedback(self, feedback: Feedback) -> bool:
        """Stores a client's feedback on an answer; durable once this returns. False: known already.

        Raises UnknownRequest, and StoreDown: nothing was stored, and the client should retry later.
        """
        if self._store is None:
            raise StoreDown("there is no store")
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            await self.exchange()
            if self.down:
                raise StoreDown(self.down)
            try:
                new = await asyncio.to_thread(self._store.take_feedback, feedback)
            except UnknownRequest:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                await asyncio.sleep(_EVERY_S / 2)
            else:
                await self.exchange()
                return new

    async def exchange_forever(self) -> None:
        while True:
            await self.exchange()
            await asyncio.sleep(_EVERY_S)

    async def exchange(self) -> None:
        """Writes queued records and learns new rows of the log. A store that is down is logged once."""
        if self._store is None:
            return
        async with self._busy:
            try:
                await asyncio.to_thread(self._open)
                await self._write()
                await self._learn()
            except StoreDown as error:
                if not self.down:
                    log.warning("the store is unreachable, learning is paused: %s", error)
                self.down = str(error)
            except Exception as error:
                # For example an unreadable row: serving continues without learning, and the log says why.
                if not self.down:
                    log.exception("learning is paused by an internal error")
                self.down = f"{type(error).__name__}"
            else:
                if self.down:
                    log.warning("the store is back")
                self.down = ""

    @property
    def waiting(self) -> int:
        """Records that have not been written yet."""
        return len(self._waiting)

    async def close(self) -> None:
        """Writes what can still be written."""
        await self.exchange()
        if self._store is not None:
            await asyncio.to_thread(self._store.close)

    def _open(self) -> None:
        assert self._store is not None
        if self._opened:
            return
        self._store.open()
        self._fold.open(self._store)
        self._opened = True
        self._publish()

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting[number] for number in range(min(_BATCH, len(self._waiting)))]
            written = await self._append(batch)
            for _ in batch:  # only now: a batch that failed is written again
                self._draws -= len(self._waiting.popleft().trace["draws"])
            self._counts.store_records.labels("written").inc(written)

    async def _append(self, batch: Sequence[Record]) -> int:
        """Returns how many were written: one that cannot be written at all must not hold up the others for ever."""
        assert self._store is not None
        try:
            await asyncio.to_thread(self._store.append, batch)
        except StoreDown:
            raise
        except Exception as error:
            if len(batch) == 1:
                log.exception("a record cannot be written and is dropped: %s", type(error).__name__)
                self._counts.store_records.labels("dropped").inc()
                return 0
            return sum([await self._append([record]) for record in batch])
        return len(batch)

    async def _learn(self) -> None:
        assert self._store is not None
        while rows := await asyncio.to_thread(self._fold.next_rows, self._store):
            await asyncio.to_thread(self._fold.learn, rows)
            self._publish()
        try:
            await asyncio.to_thread(self._fold.keep, self._store)
        except StoreDown:
            raise
        except Exception:
            # What was learnt is known all the same; without a snapshot only a start takes longer.
            log.exception("a snapshot of what was learnt could not be kept")

    async def forget_forever(self) -> None:
        """Deletes what the retention does not keep, a batch at a time."""
        while True:
            await asyncio.sleep(_FORGET_EVERY_S)
            if self._store is not None and self._opened:
                with suppress(StoreDown):  # reported elsewhere
                    await self._forget(self._store)

    async def _forget(self, store: Store) -> None:
        before = await asyncio.to_thread(self._retention.start, store)
        if await asyncio.to_thread(store.oldest) < before:
            async with self._busy:
                # What is deleted stays learnt, after a start too.
                await asyncio.to_thread(partial(self._fold.keep, store, now=True))
        more = True
        while more:
            more = await asyncio.to_thread(store.prune, before)
            await asyncio.sleep(_BETWEEN_S)
        await asyncio.to_thread(store.prune_snapshots, self._retention.oldest(), self._fold.view)

    def _publish(self) -> None:
        self._router_state = replace(self._fold.learner.router_state(), portfolio=self._portfolio)


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


def router_state_at(
    store: Store, checkpoints: Mapping[str, str], folded: int, portfolio: Recommendation
) -> RouterState:
    """What a replica knew when it had learnt from that many rows.

    checkpoints: per member name, what it served, as a recorded request's trace has them.

    Raises UnknownRequest: those rows are not in the log, or not any more.
    """
    learner = folded_to(store, checkpoints, folded)
    return replace(learner.router_state(), portfolio=portfolio)
