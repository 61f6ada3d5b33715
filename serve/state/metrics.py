"""The server's own metrics: what is counted, and how the counts of several ingress replicas become one page.

Base units, counters end in `_total`, and no label grows with the traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# family name -> (help, type, {(sample name, labels): value})
Labels = tuple[tuple[str, str], ...]
Snapshot = Mapping[str, tuple[str, str, Mapping[tuple[str, Labels], float]]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_SAMPLES = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377)


class Counts:
    """What one ingress replica counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "alpharay_requests_total",
            "Requests answered, by how they ended.",
            ["endpoint", "outcome"],
            registry=self.registry,
        )
        self.duration = Histogram(
            "alpharay_request_duration_seconds", "From a request's arrival to the end of its answer.", ["endpoint"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.first_token = Histogram(
            "alpharay_time_to_first_token_seconds", "From a streamed request's arrival to the first text of its answer.",
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.samples = Counter(
            "alpharay_samples_total", "Samples drawn: finished, aborted when no longer needed, or lost to a fault.",
            ["member", "outcome"], registry=self.registry,
        )  # fmt: skip
        self.tokens = Counter(
            "alpharay_tokens_total", "Tokens of finished samples, by kind (prompt, completion).", ["member", "kind"],
            registry=self.registry,
        )  # fmt: skip
        self.wasted_tokens = Counter(
            "alpharay_wasted_tokens_total", "Completion tokens of finished samples that were not returned, by reason.",
            ["member", "reason"], registry=self.registry,
        )  # fmt: skip
        self.verdicts = Counter(
            "alpharay_verdicts_total",
            "Judged samples, by verdict.",
            ["member", "verdict"],
            registry=self.registry,
        )
        self.selected = Counter(
            "alpharay_selected_total",
            "Samples returned as the first choice of an answer.",
            ["member"],
            registry=self.registry,
        )
        self.to_first_pass = Histogram(
            "alpharay_samples_to_first_pass", "Samples that counted up to the first accepted one.",
            buckets=_SAMPLES, registry=self.registry,
        )  # fmt: skip
        self.judge_duration = Histogram(
            "alpharay_judge_duration_seconds", "From handing a candidate to the judge to its verdict.", ["verdict"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.judged = Counter(
            "alpharay_judged_total", "Candidates judged and programs run for /v1/judge and /run_code, by verdict.",
            ["endpoint", "verdict"], registry=self.registry,
        )  # fmt: skip
        self.written_inputs = Counter(
            "alpharay_written_inputs_total",
            "Inputs that members wrote for the selector `discriminate`: discriminating, agreed (all answer alike), or dropped (most cannot read it).",
            ["outcome"],
            registry=self.registry,
        )
        self.scorer_requests = Counter(
            "alpharay_scorer_requests_total",
            "Calls of scorers: ok, timeout, unreachable, refused or malformed.",
            ["outcome"],
            registry=self.registry,
        )
        self.scorer_duration = Histogram(
            "alpharay_scorer_duration_seconds", "Of a scorer's call, however it ended.", buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.scorer_decisions = Counter(
            "alpharay_scorer_decisions_total",
            "What scorers said of candidates: accept, reject, tie or abstain.",
            ["decision"],
            registry=self.registry,
        )
        self.store_records = Counter(
            "alpharay_store_records_total",
            "Finished requests for the store: written, or dropped because too many waited for it.",
            ["outcome"],
            registry=self.registry,
        )
        self.key_samples = Counter(
            "alpharay_key_samples_total",
            "Samples of answered requests, by API key.",
            ["key"],
            registry=self.registry,
        )
        self.key_tokens = Counter(
            "alpharay_key_tokens_total",
            "Tokens of answered requests, all their samples', by API key and kind (prompt, completion).",
            ["key", "kind"],
            registry=self.registry,
        )
        self.key_judge_cpu = Counter(
            "alpharay_key_judge_cpu_seconds_total",
            "CPU seconds of the judge's runs for answered requests, by API key.",
            ["key"],
            registry=self.registry,
        )
        self.rollouts = Counter(
            "alpharay_rollouts_total",
            "Finished requests for server.rollouts: written, or dropped because too many waited for the disk.",
            ["outcome"],
            registry=self.registry,
        )
        self.task_failures = _task_failures(self.registry)
        self.skipped_rows = Counter(
            "alpharay_store_skipped_rows_total",
            "Rows of the store's log that a replica could not learn from and passed over.",
            registry=self.registry,
        )
        self.rejections = Counter(
            "alpharay_rejections_total", "Requests refused before any sample was drawn, by reason.", ["reason"],
            registry=self.registry,
        )  # fmt: skip

    def task_failed(self, task: str) -> None:
        """task: the name of a long-lived one."""
        self.task_failures.labels(task).inc()

    def snapshot(self) -> Snapshot:
        """Everything counted so far, in a form that travels."""
        return travelling(self.registry.collect())


def _task_failures(registry: CollectorRegistry) -> Counter:
    return Counter(
        "alpharay_task_failures_total",
        "Faults of long-lived tasks in all replicas, each of which was started again.",
        ["task"],
        registry=registry,
    )


def of_failures(failures: Mapping[str, int]) -> Snapshot:
    """The task metrics of a replica that has no other counters."""
    registry = CollectorRegistry()
    counter = _task_failures(registry)
    for name, times in failures.items():
        counter.labels(name).inc(times)
    return travelling(registry.collect())


def travelling(collected: Iterable[Metric]) -> Snapshot:
    """Collected metrics in a form that travels between processes."""
    return {
        metric.name: (
            metric.documentation,
            metric.type,
            {
                (sample.name, tuple(sorted(sample.labels.items()))): sample.value
                for sample in metric.samples
                if not sample.name.endswith("_created")
            },
        )
        for metric in collected
    }


def add(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Sample by sample, the sum."""
    total: dict[str, tuple[str, str, dict[tuple[str, Labels], float]]] = {}
    for snapshot in snapshots:
        for name, (text, kind, samples) in snapshot.items():
            sums = total.setdefault(name, (text, kind, {}))[2]
            for key, value in samples.items():
                sums[key] = sums.get(key, 0.0) + value
    return total


def gauge(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    """A gauge that is read off rather than counted, such as how many replicas are up."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def counter(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    """A counter that another part keeps; `_total` is added to the name."""
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


class _Page(Collector):
    def __init__(self, counted: Snapshot, gauges: Iterable[Metric]) -> None:
        self._counted, self._gauges = counted, gauges

    def collect(self) -> Iterator[Metric]:
        for name, (text, kind, samples) in sorted(self._counted.items()):
            metric = Metric(name, text, kind)
            for (sample, labels), value in samples.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric
        yield from self._gauges


def page(counted: Snapshot, gauges: Iterable[Metric]) -> bytes:
    """The text that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(counted, list(gauges)))
    return generate_latest(registry)
