"""Changes a running server: other checkpoints, or another router configuration."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

from alpharay.merge.errors import MergeError
from alpharay.serve.cluster.bring_up import Say, ask_cluster_state, deploy, tell_members
from alpharay.serve.cluster.prepare import check_checkpoints, prepare
from alpharay.serve.cluster.ray_cluster import check_spare_gpus
from alpharay.serve.config import Config
from alpharay.serve.errors import ServeError, StartFailed
from alpharay.serve.state.changes import Change, ChangePhase, Order
from alpharay.serve.state.revision import AnnouncedRevision, Revision, changed, steps, with_checkpoints

_SETTLE_S = 0.5
_REPORT_S = 5.0
_LOOK_S = 1.0


@dataclass
class Rolling:
    """Changes a running server, in a thread of its own: one change at a time.

    configured: the configuration as last read. over: the server is stopping, so failures are not reported. A change follows an
    order for other checkpoints, or else the configuration as it is when it is read again, orders or not.
    """

    revision: Revision
    configured: Config
    reread: Callable[[], Config]
    say: Say
    over: bool = False
    _number: int = 0
    # A change is in progress: members of both revisions may be served, and engines of both run.
    _unfinished: bool = False
    _thread: threading.Thread | None = None
    _change: Change | None = None
    _reported: bool = True
    _reporting: threading.Lock = field(default_factory=threading.Lock)
    _orders: SimpleQueue[Order] = field(default_factory=SimpleQueue)

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, order: Order | None = None) -> None:
        self._thread = threading.Thread(target=self._run, args=(order,), daemon=True, name="rolling")
        self._thread.start()

    def _run(self, order: Order | None) -> None:
        source = "reread" if order is None else "checkpoints"
        change = Change(
            id=uuid.uuid4().hex if order is None else order.id,
            phase=ChangePhase.CHECKING,
            checkpoints={} if order is None else order.checkpoints,
        )
        try:
            self._report(change)
            wanted = self.configured if order is not None else self.reread()
            if order is not None:
                config = with_checkpoints(self.revision.config, order.checkpoints)
            else:
                config = changed(self.configured, wanted, self.revision.config)
            check_checkpoints(config)
            self._report(phase=ChangePhase.PREPARING)
            members, specs = prepare(config, self._say_and_report)
            new = Revision(config=config, members=members, specs=specs)
            if new == self.revision and not self._unfinished:
                self._report(phase=ChangePhase.DONE, message="nothing has changed")
                self.say(f"{source}: nothing has changed")
                return
            moves = list(steps(self.revision, new))
            self._report(phase=ChangePhase.MOVING, hosts=len(moves))
            for number, step in enumerate(moves, 1):
                self._move(step)
                self._report(moved=number)
            self._unfinished = False
            self.configured = wanted
            self._report(phase=ChangePhase.DONE)
            self.say(f"{source}: the new {'configuration is' if order is None else 'checkpoints are'} served")
            tell_members(members, self.say)
        except Exception as error:
            kind = "" if isinstance(error, ServeError | MergeError) else f"{type(error).__name__}: "
            served = "part of it is served" if self._unfinished else "what is served stays as it is"
            begun = self._change is not None and self._change.phase is not ChangePhase.CHECKING
            phase = ChangePhase.FAILED if begun else ChangePhase.REFUSED
            self._report(phase=phase, error=f"{kind}{error}; {served}")
            if not self.over:
                self.say(f"error: {source}: {kind}{error}; {served}")

    def _say_and_report(self, line: str) -> None:
        self.say(line)
        self._report(message=line)

    def _report(self, begun: Change | None = None, **fields: Any) -> None:
        """Reports a new change, or the progress of the current change, to `/v1/checkpoints`. Lost reports are
        repeated.
        """
        with self._reporting:
            change = begun or self._change
            assert change is not None
            self._change = replace(change, **fields)
            self._send()

    def _send(self) -> None:
        self._reported = False
        with suppress(Exception):  # the cluster state may be restarting
            ask_cluster_state("report_change", self._change, timeout_s=_REPORT_S)
            self._reported = True

    def listen(self) -> None:
        """Fetches what `POST /v1/checkpoints` orders from the cluster state, in a thread of its own.

        A call to Ray may hang if its head is gone, and the thread that watches the head must not.
        """
        threading.Thread(target=self._listen, daemon=True, name="orders").start()

    def ordered(self) -> Order | None:
        with suppress(Empty):
            return self._orders.get_nowait()
        return None

    def _listen(self) -> None:
        last = ""
        while not self.over:
            time.sleep(_LOOK_S)
            with self._reporting:
                if not self._reported:
                    self._send()
            with suppress(Exception):
                order: Order | None = ask_cluster_state("pending_order", timeout_s=_REPORT_S)
                if order is not None and order.id != last:
                    last = order.id
                    self._orders.put(order)

    def _move(self, new: Revision) -> None:
        """New engines beside the old ones; then requests to the new ones; then the old ones go.

        Raises StartFailed: the new engines do not start; the old ones are as they were.
        """
        from alpharay.serve.cluster.deployments import handles

        self._unless_over()
        old, fresh = self.revision, new.groups().keys() - self.revision.groups().keys()
        names = [name for group in fresh for spec in new.groups()[group] for name in spec.members]
        if fresh:
            check_spare_gpus(new.config)
            self._say_and_report(f"starting engines of {', '.join(names)} beside those that serve")
            try:
                deploy(old, self._say_and_report, new)
            except StartFailed:
                # The failed revision still reports for a while.
                deploy(old, self._say_and_report, watch=False)
                raise
        self._number += 1
        hosts, _ = handles(new)
        announced = AnnouncedRevision(
            number=self._number, config=new.config, members=new.members, hosts=hosts
        )
        self.revision, self._unfinished = new, True
        self._say_and_report("new requests are answered with it; waiting for those under way")
        while not self._settled(announced):
            self._unless_over()
            time.sleep(_SETTLE_S)
        deploy(new, self._say_and_report, watch=False)  # which ends the old ones; the new ones have answered

    def _unless_over(self) -> None:
        """Raises StartFailed, which is not reported: the server is stopping, and the rest stays unchanged."""
        if self.over:
            raise StartFailed("the server ends")

    def _settled(self, announced: AnnouncedRevision) -> bool:
        """Whether every replica has stopped answering with earlier revisions."""
        try:
            # Announced again each time: a restarted cluster state has lost it.
            ask_cluster_state("announce", announced)
            return bool(ask_cluster_state("settled", announced.number))
        except Exception as error:
            self.say(f"the cluster state does not answer ({type(error).__name__}); it is asked again")
            return False
