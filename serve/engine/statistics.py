"""vLLM's metrics on their way to Ray, which exports them every few seconds: gauges and counters are set once a second.

vLLM sets some fifteen of them at every step. To one client that is as often as a token comes, and Ray's calls cost more
than the token.
"""

from __future__ import annotations

import asyncio
from typing import Any

from vllm.v1.metrics.ray_wrappers import RayCounterWrapper, RayGaugeWrapper, RayPrometheusStatLogger

_EVERY_S = 1.0


class _Pending:
    """What the engines of this process have set and counted since the last second."""

    def __init__(self) -> None:
        self.gauges: dict[_Gauge, float] = {}
        self.counters: dict[_Counter, float] = {}
        self._planned: asyncio.AbstractEventLoop | None = None  # the loop that ends the second

    def plan(self) -> bool:
        """Plans the end of the second. False: no loop runs in this thread, which starts an engine."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._planned is not loop:
            loop.call_later(_EVERY_S, self._flush)
            self._planned = loop
        return True

    def _flush(self) -> None:
        self._planned = None
        gauges, self.gauges = self.gauges, {}
        counters, self.counters = self.counters, {}
        for gauge, value in gauges.items():
            gauge.set_now(value)
        for counter, value in counters.items():
            counter.inc_now(value)


_PENDING = _Pending()


class _Labelled:
    """The metric with labels, the same object for the same labels: vLLM asks for it at every step."""

    def labels(self, *labels: Any, **named: Any) -> Any:
        if named:
            return super().labels(*labels, **named)  # type: ignore[misc]  # of RayPrometheusMetric
        known = self.__dict__.setdefault("_by_labels", {})
        if labels not in known:
            known[labels] = super().labels(*labels)  # type: ignore[misc]
        return known[labels]


class _Gauge(_Labelled, RayGaugeWrapper):  # type: ignore[misc]  # vLLM is not typed for us
    def set(self, value: float) -> None:
        if _PENDING.plan():
            _PENDING.gauges[self] = value
        else:
            self.set_now(value)

    def set_now(self, value: float) -> None:
        super().set(value)


class _Counter(_Labelled, RayCounterWrapper):  # type: ignore[misc]
    def inc(self, value: float = 1.0) -> None:
        if not value:
            return
        if _PENDING.plan():
            _PENDING.counters[self] = _PENDING.counters.get(self, 0) + value
        else:
            self.inc_now(value)

    def inc_now(self, value: float) -> None:
        super().inc(value)


class Statistics(RayPrometheusStatLogger):  # type: ignore[misc]
    """VLLM's export of metrics through Ray, which cannot be read back here. latest: the scheduler's statistics."""

    _gauge_cls = _Gauge
    _counter_cls = _Counter

    latest: Any = None

    def record(self, scheduler_stats: Any, *rest: Any, **options: Any) -> None:
        super().record(scheduler_stats, *rest, **options)
        if scheduler_stats is not None:
            self.latest = scheduler_stats
