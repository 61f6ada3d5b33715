"""OpenTelemetry traces of requests, off unless the standard OTEL_* variables name where they go.

One trace a request: its own span, below it one for each wave of draws, then one for each sample and its verdict. A request
of a batch has a trace of its own, and so has one that only judges or runs programs. Names and attributes follow the semantic
conventions of generative AI (`gen_ai.*`). No prompt, answer or program is in a span.
The SDK, which comes with the engine, is imported when the first request needs it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, Tracer

    from alpharay.judge.verdict import VerdictKind
    from alpharay.router import Draw

log = logging.getLogger("ray.serve")

# Samples of a request that have spans; those beyond them are events of their wave, so that 250 can still be looked at.
MOST_SPANS = 32
_MOST_EVENTS = 4096  # of a span; the SDK's own default is 128, and leaves out the earlier ones
_OPERATIONS = {"chat": "chat", "completions": "text_completion", "responses": "chat", "messages": "chat"}
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FAILED = frozenset({"lost", "refused"})


class RequestTrace:
    """The trace of one request. This one is off: it records nothing and passes nothing on.

    live: whether anything is recorded, so that what is done for every sample can be left out.
    """

    live = False

    def watch(self, draw: Draw, state: str, verdict: VerdictKind | None = None) -> None:
        """A step of a sample, as `Watch` has them, or `finished`: it is not judged."""

    def headers(self, draw: Draw) -> dict[str, str]:  # noqa: ARG002 - off
        """Headers for the engine of a draw, so that its own spans belong to this trace."""
        return {}

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Sets attributes of the request's span; those with the value None are left out."""

    def set_sample_attributes(self, draw: Draw, attributes: Mapping[str, Any]) -> None:
        """Sets attributes of a sample's span, where it has one."""

    def ran(self, index: int, language: str, result: str, started_ns: int) -> None:
        """A program of a request to judge or to run. index: of the candidate. result: its verdict. started_ns: Unix time."""

    def end(self, outcome: str) -> None:
        """outcome: as the metrics count it."""


OFF = RequestTrace()


def begin(endpoint: str, headers: Mapping[str, str]) -> RequestTrace:
    """endpoint: a dialect's name, `judge` or `run_code`. headers: with lower-case names; a `traceparent` among them is followed."""
    tracer = _tracer()
    return OFF if tracer is None else LiveTrace(tracer, endpoint, headers)


def begin_of_batch(endpoint: str, batch: str, custom_id: str) -> RequestTrace:
    """Of a request of a batch, for which no client waits: a trace by itself, found by the batch's id."""
    tracer = _tracer()
    if tracer is None:
        return OFF
    trace = LiveTrace(tracer, endpoint, {}, waits=False)
    trace.set_attributes(
        {"alpharay.batch.id": batch, "alpharay.batch.custom_id": custom_id.encode(errors="replace").decode()}
    )
    return trace


def is_on(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    return exporter in ("otlp", "console") or (exporter == "" and any(map(environment.get, _ENDPOINTS)))


class LiveTrace(RequestTrace):
    """Spans of one request. Those still open at its end end with it."""

    live = True

    def __init__(
        self, tracer: Tracer, endpoint: str, headers: Mapping[str, str], *, waits: bool = True
    ) -> None:
        """waits: whether a client waits for the answer."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()
        self._operation = _OPERATIONS.get(endpoint, endpoint)
        generates = {"gen_ai.operation.name": self._operation, "gen_ai.provider.name": "alpharay"}
        self._root = tracer.start_span(
            self._operation,
            self._propagator.extract(dict(headers)),
            SpanKind.SERVER if waits else SpanKind.CONSUMER,
            generates if endpoint in _OPERATIONS else {},
        )
        self._wave: Span | None = None
        self._waves = 0
        self._of_wave: dict[int, Span] = {}  # by the index of a draw, until it ends
        self._open: dict[Span, int] = {}  # waves, and their draws that have not ended
        self._samples: dict[int, Span] = {}
        self._answered_ns: dict[int, int] = {}  # when the engine had answered, by the index of a draw
        self._spans = 0

    def watch(self, draw: Draw, state: str, verdict: VerdictKind | None = None) -> None:
        if state == "drawn":
            self._drawn(draw)
        elif state == "sampled":
            self._answered_ns[draw.index] = time.time_ns()
        elif draw.index in self._of_wave:
            self._ended(draw, state, verdict)

    def headers(self, draw: Draw) -> dict[str, str]:
        headers: dict[str, str] = {}
        span = self._samples.get(draw.index) or self._of_wave.get(draw.index, self._root)
        self._propagator.inject(headers, _within(span))
        return headers

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        known = {name: value for name, value in attributes.items() if value is not None}
        self._root.set_attributes(known)
        if model := known.get("gen_ai.request.model"):
            self._root.update_name(f"{self._operation} {model}")

    def set_sample_attributes(self, draw: Draw, attributes: Mapping[str, Any]) -> None:
        if (span := self._samples.get(draw.index)) is not None:
            span.set_attributes(attributes)

    def ran(self, index: int, language: str, result: str, started_ns: int) -> None:
        if not self._root.is_recording():  # the client has left
            return
        attributes: dict[str, Any] = {
            "alpharay.candidate": index,
            "alpharay.language": language,
            "gen_ai.evaluation.score.label": result,
        }
        if self._spans < MOST_SPANS:
            self._spans += 1
            self._tracer.start_span(
                "verdict", _within(self._root), attributes=attributes, start_time=started_ns
            ).end()
        else:
            self._root.add_event("verdict", attributes)

    def end(self, outcome: str) -> None:
        for span in (*self._samples.values(), *self._open):
            span.end()
        self._samples.clear()
        self._open.clear()
        self._of_wave.clear()
        self._root.set_attribute("alpharay.outcome", outcome)
        if outcome in ("fault", "unavailable"):
            _fail(self._root, outcome)
        self._root.end()

    def _drawn(self, draw: Draw) -> None:
        from opentelemetry.trace import SpanKind

        wave = self._wave or self._new_wave()
        self._of_wave[draw.index] = wave
        self._open[wave] += 1
        wave.set_attribute("alpharay.samples", self._open[wave])
        if self._spans < MOST_SPANS:
            self._spans += 1
            self._samples[draw.index] = self._tracer.start_span(
                f"{self._operation} {draw.member}",
                _within(wave),
                SpanKind.CLIENT,
                {
                    "gen_ai.operation.name": self._operation,
                    "gen_ai.provider.name": "vllm",
                    **_attributes(draw),
                },
            )

    def _new_wave(self) -> Span:
        """What is drawn before the event loop goes on is one wave."""
        self._waves += 1
        self._wave = self._tracer.start_span(
            f"wave {self._waves}", _within(self._root), attributes={"alpharay.wave": self._waves}
        )
        self._open[self._wave] = 0
        asyncio.get_running_loop().call_soon(self._close_wave)
        return self._wave

    def _close_wave(self) -> None:
        self._wave = None

    def _ended(self, draw: Draw, state: str, verdict: VerdictKind | None) -> None:
        wave = self._of_wave.pop(draw.index)
        attributes = {"alpharay.state": state} | ({"alpharay.verdict": verdict.value} if verdict else {})
        span = self._samples.pop(draw.index, None)
        if span is None:
            wave.add_event("sample", _attributes(draw) | attributes)
        else:
            if verdict is not None:
                label = {"gen_ai.evaluation.name": "tests", "gen_ai.evaluation.score.label": verdict.value}
                since = self._answered_ns.get(draw.index)
                self._tracer.start_span("verdict", _within(span), attributes=label, start_time=since).end()
            span.set_attributes(attributes)
            if state in _FAILED:
                _fail(span, state)
            span.end()
        if wave in self._open:
            self._open[wave] -= 1
            if not self._open[wave] and wave is not self._wave:
                del self._open[wave]
                wave.end()


def _attributes(draw: Draw) -> dict[str, Any]:
    return {
        "gen_ai.request.model": draw.member,
        "gen_ai.request.seed": draw.seed,
        "alpharay.member": draw.member,
        "alpharay.sample": draw.index,
        "alpharay.turn": draw.turn,
    }


def _within(span: Span) -> Any:
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(span)


def _fail(span: Span, reason: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", reason)
    span.set_status(StatusCode.ERROR)


@cache
def _tracer() -> Tracer | None:
    """The tracer of this process; None where traces are off. What cannot be set up is logged, and requests are answered without."""
    if not is_on(os.environ):
        return None
    try:
        return tracer_of(_exporting(os.environ))
    except Exception:
        log.exception("OTEL_* variables ask for traces, which cannot be set up; requests are not traced")
        return None


def tracer_of(processor: SpanProcessor) -> Tracer:
    """The tracer of a separate provider: the global one belongs to other libraries in this process."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider

    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    limits = SpanLimits(max_events=None if "OTEL_SPAN_EVENT_COUNT_LIMIT" in os.environ else _MOST_EVENTS)
    resource = Resource.create({} if named else {"service.name": "alpharay"})
    provider = TracerProvider(resource=resource, span_limits=limits)
    provider.add_span_processor(processor)
    return provider.get_tracer("alpharay")


def _exporting(environment: Mapping[str, str]) -> SpanProcessor:
    """The exporter reads its own variables: endpoint, headers, timeout, certificates."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    if environment.get("OTEL_TRACES_EXPORTER") == "console":
        return BatchSpanProcessor(ConsoleSpanExporter())
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        return BatchSpanProcessor(Grpc())
    if protocol != "http/protobuf":
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r}: choose http/protobuf or grpc")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(OTLPSpanExporter())
