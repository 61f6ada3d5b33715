"""What this replica has learnt: the store's log folded into a learner, and what it adds to that log.

Every replica writes what its own requests taught and, about once a second, folds what all of them wrote, in the
order of the log: all come to the same state. Nothing of it is in a request's way. While the store is down
requests are answered all the same; what they would have taught waits, up to a bound, and is then dropped and
counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from alpharay.router import Candidate, Learner, Standing
from alpharay.serve.frontier import ServedMember
from alpharay.serve.metrics import Counts
from alpharay.serve.recording import Recorded
from alpharay.serve.store import Feedback, Logged, Record, Store, StoreDown, UnknownRequest

log = logging.getLogger("ray.serve")

# Requests whose records may wait for the store. A record is some kilobytes.
_MOST_WAITING = 2000
_BATCH = 200
_EVERY_S = 1.0
# While more rows wait to be folded than one call fetches, or feedback waits, it goes on at once.
_SNAPSHOT_EVERY = 2000
# Another replica writes its records about once a second: feedback that is quicker waits for them.
_PATIENCE_S = 3.0


class Learning:
    """One ingress replica's part.

    store: None keeps what is learnt in memory, for this replica alone.
    portfolio: per member name, the part of a budget that an audit recommends.
    """

    def __init__(
        self,
        store: Store | None,
        members: Sequence[ServedMember],
        counts: Counts,
        *,
        portfolio: Mapping[str, float] | None = None,
    ) -> None:
        self._store = store
        self._counts = counts
        self._checkpoints = {member.name: member.sha256 for member in members}
        served = sorted(self._checkpoints.items())
        self._view = hashlib.sha256(repr(served).encode()).hexdigest()
        self._portfolio = dict(portfolio or {})
        self._learner = Learner()
        self._standing = Standing(portfolio=self._portfolio)
        self._waiting: deque[Record] = deque()
        self._busy = asyncio.Lock()
        self._opened = False
        self._seq = 0
        self._since_snapshot = 0
        self.down = ""

    @property
    def checkpoints(self) -> Mapping[str, str]:
        return self._checkpoints

    def standing(self) -> Standing:
        """What is known now; the same object until something is learnt."""
        return self._standing

    def fixed(self) -> Standing:
        """What never changes while the server runs: for requests that are to be reproducible."""
        return Standing(portfolio=self._portfolio)

    def record(
        self,
        request: str,
        session: Recorded,
        chosen: Sequence[Candidate],
        levels: Sequence[int | None] = (),
    ) -> None:
        """Takes a finished request. Returns at once: it is written later.

        chosen: the choices that are answered, in their order. levels: of the test cases.
        """
        rows = session.experiences(request, levels)
        if self._store is None:
            for row in rows:
                self._learner.learn(row)
            self._publish()
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._counts.store_records.labels("dropped").inc()
            return
        self._waiting.append(
            Record(
                request=request,
                trace=session.trace(self._checkpoints),
                choices=[one.draw.index for one in chosen],
                rows=rows,
                checkpoints=self._checkpoints,
            )
        )

    async def feedback(self, given: Feedback) -> bool:
        """Takes what a client says of an answer; it is safely stored once this returns. False: known already.

        Raises UnknownRequest, and StoreDown: it is not stored, and should be said again later.
        """
        if self._store is None:
            raise StoreDown("there is no store")
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            await self.exchange()
            if self.down:
                raise StoreDown(self.down)
            try:
                new = await asyncio.to_thread(self._store.take_feedback, given)
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
        """Writes what waits, and learns what is new in the log. A store that is down is told once."""
        if self._store is None:
            return
        async with self._busy:
            try:
                await asyncio.to_thread(self._open)
                await self._write()
                await self._fold()
            except StoreDown as error:
                if not self.down:
                    log.warning("the store is out of reach, learning is paused: %s", error)
                self.down = str(error)
            except Exception as error:
                # A row that cannot be read, say: serving goes on without learning, and the log tells why.
                if not self.down:
                    log.exception("learning is paused by a fault of ours")
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
        found = self._store.newest_snapshot(self._view)
        if found is not None:
            learner = Learner()
            try:
                learner.restore(found[1])
            except (ValueError, KeyError, TypeError):
                log.info("what was learnt by another version is learnt anew from the log")
            else:
                self._seq, self._learner = found[0], learner
        self._opened = True
        self._publish()

    async def _write(self) -> None:
        assert self._store is not None
        while self._waiting:
            batch = [self._waiting[number] for number in range(min(_BATCH, len(self._waiting)))]
            await asyncio.to_thread(self._store.append, batch)
            for _ in batch:  # only now: a batch that failed is written again
                self._waiting.popleft()
            self._counts.store_records.labels("written").inc(len(batch))

    async def _fold(self) -> None:
        assert self._store is not None
        while rows := await asyncio.to_thread(self._store.log, self._seq):
            await asyncio.to_thread(self._learn, rows)
            self._publish()
        if self._since_snapshot >= _SNAPSHOT_EVERY:
            state = self._learner.snapshot()
            await asyncio.to_thread(self._store.keep_snapshot, self._view, self._seq, state)
            self._since_snapshot = 0

    def _learn(self, rows: Sequence[Logged]) -> None:
        for row in rows:
            # Another checkpoint may have had the same name; what it did says nothing about this one.
            if self._checkpoints.get(row.experience.member) == row.checkpoint:
                self._learner.learn(row.experience)
                self._since_snapshot += 1
            self._seq = row.seq

    def _publish(self) -> None:
        self._standing = replace(self._learner.standing(), portfolio=self._portfolio)


def standing_at(
    store: Store, checkpoints: Mapping[str, str], folded: int, portfolio: Mapping[str, float]
) -> Standing:
    """What a replica knew when it had learnt from that many rows: the log folded from its start.

    checkpoints: per member name, what it served, as a recorded request's trace has them.

    Raises UnknownRequest: the log is shorter than that.
    """
    learner, seq = Learner(), 0
    while learner.folded < folded:
        rows = store.log(seq)
        if not rows:
            raise UnknownRequest(f"the log has {learner.folded} rows of these members, not {folded}")
        for row in rows:
            if learner.folded < folded and checkpoints.get(row.experience.member) == row.checkpoint:
                learner.learn(row.experience)
            seq = row.seq
    return replace(learner.standing(), portfolio=portfolio)
