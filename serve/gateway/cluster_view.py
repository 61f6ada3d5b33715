"""What one ingress replica knows of the cluster: who is up, and what the other replicas counted."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from alpharay.serve.gateway.admission import Admission
from alpharay.serve.state import metrics
from alpharay.serve.state.cluster_state import IngressReport, Overview

log = logging.getLogger("ray.serve")

EXCHANGE_S = 1.0
_TIMEOUT_S = 2.0


class ClusterView:
    """The cluster state as it was last heard of. It counts as up to date while it cannot be reached."""

    def __init__(self, cluster_state: Any, admission: Admission, revision: int) -> None:
        self.overview = Overview()
        self._cluster_state = cluster_state
        self._admission = admission
        self._name = uuid.uuid4().hex
        self._revision = revision
        self._was_ready = False

    async def exchange(self) -> float | None:
        """Reports what was counted here, and takes the rest. Returns the seconds in which to drain, where that is asked."""
        admission = self._admission
        if admission.keys is not None:
            admission.keys.look()
        report = IngressReport(
            counted=admission.counts.snapshot(),
            in_flight=admission.in_flight,
            draining=admission.draining,
            keys=admission.limits.used(),
            revision=self._revision,
        )
        try:
            async with asyncio.timeout(_TIMEOUT_S):  # a handle waits for a lost replica as long as it takes
                self.overview = await self._cluster_state.exchange.remote(self._name, report)
        except Exception:
            log.warning(
                "the cluster state is unreachable; counts of other replicas are missing for now",
                exc_info=True,
            )
            return None
        admission.limits.others = self.overview.keys
        return self.overview.drain_s

    def counted(self) -> metrics.Snapshot:
        """The sum over all ingress replicas."""
        return metrics.add([self.overview.counted, self._admission.counts.snapshot()])

    def not_ready(self) -> str | None:
        """Why requests should go elsewhere; None once every member could answer, and while any of them can."""
        if self._admission.draining:
            return "the server is shutting down"
        states = self.overview.members
        if not states:
            return "not ready: the members have not reported yet"
        starting = [name for name, state in states.items() if not state.started]
        if starting and not self._was_ready:
            return f"not ready: {', '.join(starting)} did not start yet"
        if not any(state.up for state in states.values()):
            return "not ready: no member can answer"
        self._was_ready = True
        return None

    def degraded(self) -> list[str]:
        """The members that cannot answer now."""
        return [name for name, state in self.overview.members.items() if not state.up]

    def is_down(self, name: str) -> bool:
        """Whether the cluster state knows of no engine of that member that can answer now."""
        state = self.overview.members.get(name)
        return state is not None and not state.up

    @property
    def judge_is_down(self) -> bool:
        """Whether the cluster state was reached and knows of no judge that can answer now."""
        return bool(self.overview.members) and not self.overview.judge.layer

    def load(self) -> dict[str, float]:
        """How busy the engines are, under vLLM's names: requests that wait in them, and the fullest one's cache."""
        states = self.overview.members.values()
        return {
            "kv_cache_usage_perc": max((state.cache_usage for state in states), default=0.0),
            "num_requests_waiting": float(sum(state.waiting for state in states)),
        }
