"""All batches of one HTTP process: made, looked after, run as far as no other process runs them, and ended."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, TypeVar

from alpharay.router.batch import BatchPlan
from alpharay.serve.errors import RequestError, malformed, no_capacity
from alpharay.serve.gateway.batches import wire
from alpharay.serve.gateway.batches.each import EachRequest
from alpharay.serve.gateway.batches.ending import write_files
from alpharay.serve.gateway.batches.folder import Folder, Lock
from alpharay.serve.gateway.batches.lines import InputLines, Json, Wanted, check
from alpharay.serve.gateway.batches.outcomes import Outcomes
from alpharay.serve.gateway.batches.run import BatchRun, Enter
from alpharay.serve.gateway.batches.shared_budget import SharedBudget
from alpharay.serve.gateway.batches.slots import Slots
from alpharay.serve.gateway.batches.wire import NewBatch
from alpharay.serve.gateway.server import Server
from alpharay.serve.learn.store import BatchTables, Full, Store, StoredBatch, StoredFile, StoreDown
from alpharay.serve.sections import Batches as BatchesConfig

log = logging.getLogger("ray.serve")

T = TypeVar("T")

_LOOK_S = 1.0
_FORGET_S = 600.0
# Batches under way in one process; further ones wait.
_MOST_RUNNING = 8
# What failed for a reason of this machine's, such as a full disk, is tried again after so long.
_AGAIN_S = 30.0


@dataclass(slots=True)
class _Active:
    """A batch that this process runs. ending: why it is stopped before its end."""

    batch: StoredBatch
    lock: Lock
    task: asyncio.Task[None] | None = None
    run: BatchRun[Any] | None = None
    running: asyncio.Task[None] | None = None
    ending: str = ""
    reported: Json = field(default_factory=dict)


class Batches:
    """Files and batches. enter: gives the server that answers now. keep_s: for how long what has ended is kept; None: for ever."""

    def __init__(
        self, store: Store, config: BatchesConfig, enter: Enter, *, keep_s: float | None = None
    ) -> None:
        assert config.folder is not None
        self.config = config
        self.tables = BatchTables(store)
        self.folder = Folder(config.folder)
        self._store = store
        self._enter = enter
        self._keep_s = keep_s
        self._slots = Slots(config.max_under_way)
        self._active: dict[str, _Active] = {}
        self._not_before: dict[str, float] = {}
        self._forget_at = 0.0
        self._opened = False
        self._wake = asyncio.Event()

    async def keep_file(
        self, key: str, content: BinaryIO, name: str, size: int, expires_s: int | None
    ) -> StoredFile:
        """Raises RequestError: 429 where the key has as much as it may have, 503 where it cannot be kept."""
        now = time.time()
        file = StoredFile(
            id=f"file-{uuid.uuid4().hex}",
            key=key,
            at=now,
            size=size,
            name=name[:255],
            purpose=wire.PURPOSE,
            expires=None if expires_s is None else now + expires_s,
        )
        await self.blocking(self.folder.keep, file.id, content)
        try:
            await self.blocking(
                self.tables.add_file,
                file,
                most_files=self.config.max_files,
                most_bytes=int(self.config.max_key_mb * 1e6),
            )
        except BaseException:
            await asyncio.to_thread(self.folder.delete, file.id)
            raise
        return file

    async def file(self, name: str, key: str) -> StoredFile:
        """Raises RequestError (404)."""
        stored: StoredFile | None = await self.blocking(self.tables.file, name, key)
        if stored is None:
            raise wire.unknown("file", name)
        return stored

    async def delete_file(self, name: str, key: str) -> None:
        """A batch that has begun with it goes on. Raises RequestError (404)."""
        if not await self.blocking(self.tables.delete_file, name, key):
            raise wire.unknown("file", name)
        await self.blocking(self.folder.delete, name)

    async def create(self, server: Server, key: str, new: NewBatch) -> Json:
        """The new batch; one whose input cannot be used has failed, and says which lines. Raises RequestError."""
        file = await self.file(new.input_file_id, key)
        if file.purpose != wire.PURPOSE:
            raise RequestError(
                400,
                f"the file {file.id} has the purpose {file.purpose!r}, not 'batch'",
                param="input_file_id",
            )
        wanted = Wanted(
            endpoint=new.endpoint,
            most=self.config.max_requests,
            most_bytes=server.config.server.max_request_mb * 1e6,
            model=server.config.name if new.alpharay else None,
        )
        total, errors = await self.blocking(check, self.folder.file(file.id), wanted)
        name, now = f"batch_{uuid.uuid4().hex}", time.time()
        batch = StoredBatch(
            id=name,
            key=key,
            at=now,
            object=wire.batch_object(name, new, now, total, errors),
            over=bool(errors),
        )
        if not errors:
            await self.blocking(self.folder.begin, name, file.id)
        try:
            await self.blocking(self.tables.add_batch, batch, most_open=self.config.max_open)
        except BaseException:
            await asyncio.to_thread(self.folder.end, name)
            raise
        self._wake.set()
        return batch.object

    async def cancel(self, name: str, key: str) -> Json:
        """Raises RequestError: 404; 409 where it has ended."""

        def cancelling(_: Json) -> Json:
            return {"status": "cancelling", "cancelling_at": int(time.time())}

        batch: StoredBatch | None = await self.blocking(self.tables.change, name, key, cancelling)
        if batch is None:
            raise wire.unknown("batch", name)
        if batch.over and batch.object["status"] != "cancelled":
            raise RequestError(
                409, f"the batch has ended: it is {batch.object['status']}", code="batch_ended"
            )
        self._wake.set()
        return batch.object

    async def blocking(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """What that call gives, made in a thread. Raises RequestError.

        429: the key has too much. 503: store or disk fail. 400: text that they cannot hold.
        """
        try:
            if not self._opened:
                await asyncio.to_thread(self._store.open)
                self._opened = True
            return await asyncio.to_thread(partial(call, *arguments, **options))
        except Full as error:
            raise RequestError(
                429, f"this key has {error}; delete files, or wait for batches to end", code="too_many_files"
            ) from None
        except FileNotFoundError as error:
            raise RequestError(404, "that file is not there any more", code="not_found") from error
        except ValueError as error:  # what no database holds as text: half a surrogate pair, a zero byte
            raise malformed(f"an id or a name cannot be used: {type(error).__name__}") from error
        except (StoreDown, OSError) as error:
            log.warning("files and batches cannot be kept: %s", error)
            raise no_capacity("files and batches cannot be read or kept now") from error

    async def run_forever(self) -> None:
        """Runs what nobody else runs, until it is cancelled."""
        try:
            while True:
                self._wake.clear()
                await self.look()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._wake.wait()
        finally:
            await self._stop()

    async def look(self) -> None:
        """Once a second: begins batches, stops those that are cancelled or late, and writes down how far they are."""
        with self._enter() as server:
            draining = server.admission.draining
            self._slots.adapt(waited_for=server.cluster.load()["num_requests_waiting"] > 0)
        if draining:
            # What is under way is asked again by the next process: nobody waits for it here.
            await self._stop()
            return
        try:
            batches = await self.blocking(self.tables.open_batches)
            await self._forget({batch.id for batch in batches})
        except RequestError:  # it is in the log
            return
        for batch in batches:
            if (active := self._active.get(batch.id)) is not None:
                self._check(active, batch)
        for active in list(self._active.values()):
            await self._report(active)
        self._begin(batches)

    def _check(self, active: _Active, batch: StoredBatch) -> None:
        ending = _ending(batch)
        if ending and not active.ending and active.running is not None:
            active.ending = ending
            active.running.cancel()

    async def _report(self, active: _Active) -> None:
        if active.run is None or active.ending or (counts := active.run.counts()) == active.reported:
            return
        with suppress(RequestError):
            await self.blocking(active.run.outcomes.sync)
            await self.blocking(self.tables.change, active.batch.id, active.batch.key, lambda _: counts)
            active.reported = counts

    def _begin(self, batches: Sequence[StoredBatch]) -> None:
        now = time.monotonic()
        waiting = [
            batch
            for batch in batches
            if batch.id not in self._active and self._not_before.get(batch.id, 0) <= now
        ]
        keys = {active.batch.key for active in self._active.values()}
        # The oldest first, but a key's second one after other keys' first ones.
        for batch in sorted(waiting, key=lambda batch: batch.key in keys):
            if len(self._active) >= _MOST_RUNNING and not _ending(batch):
                continue
            if (lock := self.folder.claim(batch.id)) is not None:
                active = self._active[batch.id] = _Active(batch, lock)
                active.task = asyncio.create_task(self._work(active), name=batch.id)

    async def _work(self, active: _Active) -> None:
        """One batch, from wherever it is to its end."""
        try:
            await self._run_and_end(active)
        except Exception:
            log.exception("%s is interrupted by an internal error, and tried again", active.batch.id)
            self._not_before[active.batch.id] = time.monotonic() + _AGAIN_S
        finally:
            if active.run is not None:
                active.run.close()
            active.lock.release()
            del self._active[active.batch.id]
            self._wake.set()

    async def _run_and_end(self, active: _Active) -> None:
        batch = active.batch
        try:
            run = active.run = await asyncio.to_thread(self._opened_run, batch)
        except FileNotFoundError:
            await self.blocking(self.tables.change, batch.id, batch.key, _lost, over=True)
            return
        active.ending = _ending(batch)
        if not active.ending:
            active.running = asyncio.ensure_future(run.run())
            try:
                await active.running
            except asyncio.CancelledError:
                if not active.ending:  # the whole process is to stop
                    raise
        ending = asyncio.ensure_future(asyncio.to_thread(self._end, batch, run, active.ending or "completed"))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending  # nobody else may begin before its files are written
            raise

    def _opened_run(self, batch: StoredBatch) -> BatchRun[Any]:
        folder = self.folder.batch(batch.id)
        options = {
            "batch_id": batch.id,
            "key": batch.key,
            "enter": self._enter,
            "slots": self._slots,
            "deadline_s": batch.object["expires_at"] - time.time(),
        }
        lines, outcomes = InputLines(folder / "input.jsonl"), Outcomes(folder)
        dialect = wire.ENDPOINTS[batch.object["endpoint"]]
        if "alpharay" not in batch.object:
            return EachRequest(lines, outcomes, dialect, **options)
        with self._enter() as server:
            plan = _plan(server, batch, len(lines))
        return SharedBudget(lines, outcomes, dialect, plan=plan, **options)

    def _end(self, batch: StoredBatch, run: BatchRun[Any], how: str) -> None:
        written = write_files(self.folder, batch, run, how)

        def ended(known: Json) -> Json:
            status = "cancelled" if known["status"] == "cancelling" else how
            files = {name: file.id for name, file in written.items()}
            now = int(time.time())
            return {
                "status": status,
                "finalizing_at": now,
                f"{status}_at": now,
                **files,
                **run.counts(ended=True),
            }

        self.tables.change(batch.id, batch.key, ended, over=True, written=tuple(written.values()))
        self.folder.end(batch.id)

    async def _forget(self, known: set[str]) -> None:
        now = time.time()
        if now < self._forget_at:
            return
        self._forget_at = now + _FORGET_S
        before = None if self._keep_s is None else now - self._keep_s
        for name in await self.blocking(self.tables.forget, now, before):
            await self.blocking(self.folder.delete, name)
        await self.blocking(self.folder.sweep, known)

    async def _stop(self) -> None:
        tasks = [active.task for active in self._active.values() if active.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _ending(batch: StoredBatch) -> str:
    """Why nothing of it is to be asked any more; "" where it goes on."""
    if batch.object["status"] == "cancelling":
        return "cancelled"
    return "expired" if time.time() >= batch.object["expires_at"] else ""


def _lost(_: Json) -> Json:
    error = {
        "code": "input_lost",
        "message": "the batch's files are not there any more",
        "line": None,
        "param": None,
    }
    return {
        "status": "failed",
        "failed_at": int(time.time()),
        "errors": {"object": "list", "data": [error]},
    }


def _plan(server: Server, batch: StoredBatch, requests: int) -> BatchPlan:
    members = tuple(server.by_name)
    most = server.config.router.max_budget
    if server.admission.keys is not None:
        with suppress(RequestError):  # a key that is gone is told of by each of its requests
            most = min(most, server.admission.keys.named(batch.key).max_budget or most)
    schedule = server.learning.fixed().portfolio.schedule
    return BatchPlan(
        members=members,
        problems=requests,
        budget=batch.object["alpharay"]["budget"],
        schedule=tuple(schedule),
        most_per_problem=most,
    )
