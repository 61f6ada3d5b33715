"""vLLM's gauges and counters reach Ray once a second, with nothing lost between."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("vllm")
pytest.importorskip("ray")


@pytest.fixture
def sent(monkeypatch):
    """The values that Ray's metrics record: (metric's name, value, labels)."""
    from ray.util import metrics

    records = []

    def take(self, value, tags=None):
        records.append((self._name, value, {name: tag for name, tag in tags.items() if name != "ReplicaId"}))

    for kind in (metrics.Gauge, metrics.Counter):
        monkeypatch.setattr(kind, "_record", take)
    # Ray's gauges record by `set`, its counters by `inc`.
    monkeypatch.setattr(metrics.Gauge, "set", lambda self, value, tags=None: take(self, value, tags))
    return records


async def test_a_seconds_values_are_sent_once(sent):
    from alpharay.serve.engine.statistics import Statistics

    running = Statistics._gauge_cls("vllm:running", "d", ["engine"])
    tokens = Statistics._counter_cls("vllm:tokens", "d", ["engine"])
    for step in range(1, 41):
        for engine in ("0", "1"):
            running.labels(engine).set(step)
            tokens.labels(engine).inc(3)
        tokens.labels("0").inc(0)
    assert sent == []
    await asyncio.sleep(1.5)
    assert sorted(sent, key=str) == [
        ("vllm_running", 40, {"engine": "0"}),
        ("vllm_running", 40, {"engine": "1"}),
        ("vllm_tokens", 120, {"engine": "0"}),
        ("vllm_tokens", 120, {"engine": "1"}),
    ]
    tokens.labels("0").inc()
    await asyncio.sleep(1.5)
    assert sent[4:] == [("vllm_tokens", 1, {"engine": "0"})]


async def test_what_is_set_where_no_loop_runs_is_sent_at_once(sent):
    from alpharay.serve.engine.statistics import Statistics

    gauge = Statistics._gauge_cls("vllm:config", "d", ["engine"])
    await asyncio.to_thread(gauge.labels("0").set, 1)
    assert sent == [("vllm_config", 1, {"engine": "0"})]
