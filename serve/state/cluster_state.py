"""What the parts of one server know of each other: which members are up, and what each ingress counted.

A small actor of its own, because any other part may be restarted: counters must not fall when one is.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from alpharay.serve.loopback import keep_local
from alpharay.serve.state.changes import Change, Changes, Order
from alpharay.serve.state.engine_starts import EngineStarts
from alpharay.serve.state.limits import Used
from alpharay.serve.state.metrics import Snapshot, add, of_failures
from alpharay.serve.state.revision import AnnouncedRevision

# A replica that has not reported for this long is counted as down. It reports every second, but its
# loop may be held up on a machine that is short of CPU.
SILENT_AFTER_S = 10.0
# An ingress replica that has been silent for this long has nothing under way any more.
_GONE_AFTER_S = 60.0
# `alpharay serve` polls for orders every second; after this long without a poll, an order would not be carried out.
_FOLLOWED_S = 30.0


class Phase(StrEnum):
    LOADING = "loading"
    UP = "up"
    DOWN = "down"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberReport:
    """One member's engine in one replica.

    instance: differs from engine start to engine start; empty before the first.
    unfinished: requests that hold a place in the engine. waiting: those that it has not begun, and those that wait for
    its turn on shared cores; told once for an engine that several members share. cache_usage: share of its KV cache in use.
    detail: why it failed. deployment: the replica's, whose name says which weights it holds.
    """

    phase: Phase
    instance: str = ""
    unfinished: int = 0
    waiting: int = 0
    cache_usage: float = 0.0
    detail: str = ""
    deployment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """One member over all its replicas.

    restarts: starts of engines in place of lost ones; replicas that are added are none. started: an engine of it could
    answer once.
    """

    up: int = 0
    started: bool = False
    restarts: int = 0
    unfinished: int = 0
    waiting: int = 0
    cache_usage: float = 0.0
    phase: Phase = Phase.LOADING
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeState:
    """layer: the sandbox in use, empty while there is none. failed: it will not start, for `detail`."""

    layer: str = ""
    queue_depth: int = 0
    failed: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressReport:
    """One ingress replica. counted: everything since it started. draining: it lets nothing more in.

    keys: what each API key has used of its limits there. revision: the number of the one that it answers with.
    """

    counted: Snapshot = field(default_factory=dict)
    in_flight: int = 0
    draining: bool = False
    keys: Mapping[str, Used] = field(default_factory=dict)
    revision: int = 0

    @property
    def over(self) -> bool:
        """It lets nothing more in, and all that it had let in has been answered."""
        return self.draining and not self.in_flight


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """counted: by all ingress replicas that ever were, but for the one that asks; and what failed in all others.

    keys: use of each API key, at all ingress replicas but for the one that asks.
    failed: by deployment, a member whose engine did not start and why. During a change of checkpoints a member has two deployments.
    drain_s: set once the server is to stop; requests under way may take that long still.
    """

    members: Mapping[str, MemberState] = field(default_factory=dict)
    judge: JudgeState = JudgeState()
    counted: Snapshot = field(default_factory=dict)
    keys: Mapping[str, Used] = field(default_factory=dict)
    failed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    drain_s: float | None = None
    drained: bool = False


class ClusterState:
    """Keeps the latest report of every part. All methods are short: reports arrive every second."""

    def __init__(self, members: Sequence[str]) -> None:
        keep_local()
        self._announced: AnnouncedRevision | None = None
        self._starts = {name: EngineStarts() for name in members}
        self._reports: dict[str, tuple[float, Mapping[str, MemberReport]]] = {}
        self._left: set[str] = set()
        self._failures: dict[str, Mapping[str, int]] = {}
        self._past_failures: Counter[str] = Counter()  # of replicas that have left
        self._judges: dict[str, tuple[float, JudgeState]] = {}
        self._ingress: dict[str, tuple[float, IngressReport]] = {}
        self._drain_s: float | None = None
        self._changes = Changes()
        self._followed_at = -math.inf  # when orders were last looked for

    async def report_members(
        self, replica: str, reports: Mapping[str, MemberReport], failures: Mapping[str, int] | None = None
    ) -> None:
        """failures: of the replica's own tasks, by their names."""
        if replica in self._left:
            return
        self._failures[replica] = dict(failures or {})
        now = time.monotonic()
        self._reports[replica] = (now, reports)
        for name, report in reports.items():
            self._starts[name].heard(replica, report.instance, now)

    async def leave(self, replica: str) -> None:
        """The replica ends because it is no longer needed: a later replica does not count as its successor."""
        self._left.add(replica)
        self._reports.pop(replica, None)
        self._past_failures.update(self._failures.pop(replica, {}))
        for starts in self._starts.values():
            starts.left(replica)

    async def report_judge(
        self, replica: str, state: JudgeState, failures: Mapping[str, int] | None = None
    ) -> None:
        """As `report_members`."""
        self._failures[replica] = dict(failures or {})
        self._judges[replica] = (time.monotonic(), state)

    async def exchange(self, ingress: str, report: IngressReport) -> Overview:
        """Takes an ingress replica's report; gives everything there is to know."""
        self._ingress[ingress] = (time.monotonic(), report)
        return await self.overview(besides=ingress)

    async def announce(self, revision: AnnouncedRevision) -> None:
        """From now on requests are to be answered with that revision."""
        self._announced = revision

    async def announced(self, after: int) -> AnnouncedRevision | None:
        """The revision to answer with, if its number is higher than `after`."""
        newest = self._announced
        return newest if newest is not None and newest.number > after else None

    async def settled(self, number: int) -> bool:
        """Whether requests are answered with that revision, and none with an earlier one any more."""
        now = time.monotonic()
        living = [report for heard, report in self._ingress.values() if now - heard <= _GONE_AFTER_S]
        answering = [report for report in living if not report.over]
        return bool(answering) and all(report.revision >= number for report in answering)

    async def ask_change(self, order: Order) -> Change | None:
        """As `Changes.ask`. The process of `alpharay serve` looks for orders, and reports how far it is.

        None: there is no such process, as where Ray Serve builds the application by itself.
        """
        if time.monotonic() - self._followed_at > _FOLLOWED_S:
            return None
        return self._changes.ask(order)

    async def pending_order(self) -> Order | None:
        """The order that waits to be started."""
        self._followed_at = time.monotonic()
        return self._changes.pending()

    async def report_change(self, change: Change) -> None:
        self._changes.report(change)

    async def changes(self) -> tuple[Change, ...]:
        """The latest, the oldest first."""
        return self._changes.latest()

    async def drain(self, seconds: float) -> None:
        """Tells every ingress replica, at its next exchange, to let nothing more in."""
        self._drain_s = seconds

    async def overview(self, besides: str = "") -> Overview:
        now = time.monotonic()
        return Overview(
            members={name: self._member(name, now) for name in self._starts},
            judge=self._judge(now),
            counted=add(
                [
                    of_failures(sum(map(Counter, self._failures.values()), self._past_failures)),
                    *(report.counted for name, (_, report) in self._ingress.items() if name != besides),
                ]
            ),
            keys=self._keys_used(besides, now),
            failed={
                report.deployment: (name, report.detail)
                for reports in self._fresh_reports(now)
                for name, report in reports.items()
                if report.phase is Phase.FAILED
            },
            drain_s=self._drain_s,
            drained=all(
                report.over for heard, report in self._ingress.values() if now - heard <= _GONE_AFTER_S
            ),
        )

    def _keys_used(self, besides: str, now: float) -> dict[str, Used]:
        """Of an ingress replica that is gone, only the samples of the day still count."""
        total: dict[str, Used] = {}
        for name, (heard, report) in self._ingress.items():
            if name != besides:
                for key, used in report.keys.items():
                    gone = now - heard > SILENT_AFTER_S
                    counts = Used(day=used.day, samples=used.samples) if gone else used
                    total[key] = total.get(key, Used()) + counts
        return total

    def _judge(self, now: float) -> JudgeState:
        """All replicas as one: up while one of them is, its layer the first one's."""
        if not self._judges:
            return JudgeState(detail="the judge has not started yet")
        fresh = [state for heard, state in self._judges.values() if now - heard <= SILENT_AFTER_S]
        working = [state for state in fresh if state.layer]
        if not working:
            return next(iter(fresh), JudgeState(detail="the judge does not answer"))
        return replace(working[0], queue_depth=sum(state.queue_depth for state in working))

    def _fresh_reports(self, now: float) -> list[Mapping[str, MemberReport]]:
        return [reports for heard, reports in self._reports.values() if now - heard <= SILENT_AFTER_S]

    def _member(self, name: str, now: float) -> MemberState:
        fresh = [reports[name] for reports in self._fresh_reports(now) if name in reports]
        order = [Phase.FAILED, Phase.UP, Phase.LOADING, Phase.DOWN]
        leading = min(
            fresh, key=lambda report: order.index(report.phase), default=MemberReport(phase=Phase.DOWN)
        )
        starts = self._starts[name]
        if not fresh and not starts.any:
            leading = MemberReport(phase=Phase.LOADING)
        return MemberState(
            up=sum(report.phase is Phase.UP for report in fresh),
            started=starts.any,
            restarts=starts.restarts(now - SILENT_AFTER_S),
            unfinished=sum(report.unfinished for report in fresh),
            waiting=sum(report.waiting for report in fresh),
            cache_usage=max((report.cache_usage for report in fresh), default=0.0),
            phase=leading.phase,
            detail=leading.detail,
        )
