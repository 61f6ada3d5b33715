"""OpenTelemetry: one trace a request, by the SDK's own in-memory exporter."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from alpharay.judge.verdict import Captured, Verdict, VerdictKind
from alpharay.serve import tracing
from alpharay.serve.dialects import messages
from alpharay.serve.transport.clients import SampleLost

from .fakes import NAMES, TESTS, question, refusal

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    tracer = tracing.tracer_of(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", lambda: tracer)
    return exporter.get_finished_spans


def root_of(spans):
    (root,) = [span for span in spans if span.kind is SpanKind.SERVER]
    return root


def below(spans, parent):
    return [span for span in spans if span.parent and span.parent.span_id == parent.context.span_id]


async def test_one_trace_a_request_with_waves_samples_and_verdicts(serving, spans):
    serving.judging.verdict = lambda text: (
        VerdictKind.ACCEPTED if "@1.5" in text else VerdictKind.WRONG_ANSWER
    )
    answer = await serving.answer(alpharay={"budget": 10, "tests": TESTS, "stop_after_passes": 2}, seed=3)
    finished = spans()
    root = root_of(finished)
    assert len({span.context.trace_id for span in finished}) == 1
    assert root.name == "chat frontier"
    waves = below(finished, root)
    assert next(wave.name for wave in waves) == "wave 1"
    samples = [span for wave in waves for span in below(finished, wave)]
    assert len(samples) == answer["alpharay"]["drawn"]
    judged = [span for span in samples if below(finished, span)]
    labels = Counter(below(finished, span)[0].attributes["gen_ai.evaluation.score.label"] for span in judged)
    assert labels["accepted"] == 2
    assert {span.attributes["gen_ai.request.model"] for span in samples} == set(NAMES)
    assert len({span.attributes["gen_ai.request.seed"] for span in samples}) == len(samples)
    assert all(span.kind is SpanKind.CLIENT for span in samples)
    assert root.attributes["alpharay.drawn"] == answer["alpharay"]["drawn"]
    assert root.attributes["gen_ai.response.id"] == answer["id"]
    assert root.attributes["gen_ai.usage.output_tokens"] == answer["alpharay"]["usage"]["completion_tokens"]
    assert not any("a + b?" in str(span.attributes) for span in finished)


async def test_of_many_samples_the_later_ones_are_events_of_their_wave(serving, spans):
    await serving.answer(alpharay={"budget": 100, "tests": TESTS})
    finished = spans()
    waves = below(finished, root_of(finished))
    kept = sum(len(below(finished, wave)) for wave in waves)
    assert kept == tracing.MOST_SPANS
    events = [event for wave in waves for event in wave.events]
    assert kept + len(events) == 100
    assert all(event.attributes["alpharay.verdict"] == "wrong_answer" for event in events)
    assert all(event.attributes["alpharay.member"] in NAMES for event in events)


async def test_no_sample_of_a_single_large_wave_is_left_out(serving, spans):
    await serving.answer(alpharay={"budget": 250})
    finished = spans()
    (wave,) = below(finished, root_of(finished))
    assert len(below(finished, wave)) + len(wave.events) == 250


async def test_the_callers_trace_goes_on_and_is_passed_to_the_engines(serving, spans):
    await serving.chat(headers={"traceparent": PARENT}, alpharay={"budget": 5})
    finished = spans()
    root = root_of(finished)
    assert f"{root.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{root.parent.span_id:016x}" == PARENT.split("-")[2]
    sent = {headers["traceparent"].split("-")[2] for *_, headers in serving.engines.calls}
    samples = [span for wave in below(finished, root) for span in below(finished, wave)]
    assert sent == {f"{span.context.span_id:016x}" for span in samples}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_passed_through_has_its_sample(serving, spans, stream):
    response = await serving.chat(model=NAMES[2], stream=stream)
    assert response.status_code == 200
    finished = spans()
    root = root_of(finished)
    (wave,) = below(finished, root)
    (sample,) = below(finished, wave)
    assert sample.name == f"chat {NAMES[2]}"
    assert root.attributes["alpharay.outcome"] == "ok"
    (*_, headers) = serving.engines.calls[0]
    assert headers["traceparent"].split("-")[2] == f"{sample.context.span_id:016x}"


async def test_lost_samples_are_errors_and_refused_requests_are_not(serving, spans):
    serving.engines.faults = {NAMES[0]: [SampleLost("gone")]}
    await serving.answer(alpharay={"budget": 5, "tests": TESTS})
    lost = [span for span in spans() if span.attributes.get("error.type") == "lost"]
    assert [span.status.status_code for span in lost] == [StatusCode.ERROR]
    serving.engines.faults = {name: [refusal(400, "no")] for name in NAMES}
    response = await serving.http.post(
        messages.PATH, json={**question(max_tokens=5), "alpharay": {"budget": 2}}
    )
    assert response.status_code == 400
    last = [span for span in spans() if span.kind is SpanKind.SERVER][-1]
    assert last.attributes["alpharay.outcome"] == "invalid"
    assert last.status.status_code is StatusCode.UNSET


async def test_every_span_ends_with_its_request(serving, spans):
    await serving.answer(alpharay={"budget": 50, "tests": TESTS, "deadline_s": 0.02})
    finished = spans()
    known = {span.context.span_id for span in finished}
    assert all(span.end_time is not None for span in finished)
    assert {span.parent.span_id for span in finished if span.parent} <= known


async def test_without_the_variables_nothing_is_traced_or_passed_on(serving):
    await serving.answer(alpharay={"budget": 5})
    assert tracing.begin("chat", {"traceparent": PARENT}) is tracing.OFF
    assert not any("traceparent" in headers for *_, headers in serving.engines.calls)


async def test_a_request_that_judges_has_a_span_for_each_candidate_and_events_for_those_beyond(
    serving, spans
):
    serving.judging.verdict = lambda text: VerdictKind.ACCEPTED if text == "3" else VerdictKind.WRONG_ANSWER
    candidates = [{"completion": f"{n}", "index": n} for n in range(tracing.MOST_SPANS + 8)]
    answer = await serving.http.post(
        "/v1/judge", json={"tests": TESTS, "candidates": candidates}, headers={"traceparent": PARENT}
    )
    assert answer.status_code == 200
    root = root_of(spans())
    assert root.name == "judge"
    assert f"{root.context.trace_id:032x}" == PARENT.split("-")[1]
    assert root.attributes["alpharay.candidates"] == len(candidates)
    assert root.attributes["alpharay.outcome"] == "ok"
    assert "gen_ai.operation.name" not in root.attributes
    judged = [*below(spans(), root), *root.events]
    assert (len(root.events), len(judged)) == (8, len(candidates))
    labels = {
        each.attributes["alpharay.candidate"]: each.attributes["gen_ai.evaluation.score.label"]
        for each in judged
    }
    assert labels == {n: "accepted" if n == 3 else "wrong_answer" for n in range(len(candidates))}


async def test_a_program_that_is_run_and_one_that_is_judged_alone_have_a_span(serving, spans):
    async def capture(*_):
        return Verdict(VerdictKind.TIME_LIMIT, 0, 1, captured=Captured(compiled=True, stdout="1"))

    serving.judging.capture = capture
    await serving.http.post("/run_code", json={"code": "while True: pass", "language": "python"})
    await serving.http.post("/v1/judge", json={"tests": TESTS, "program": "print(1)"})
    ran, judged = (span for span in spans() if span.kind is SpanKind.SERVER)
    assert (ran.name, judged.name) == ("run_code", "judge")
    verdicts = [below(spans(), root)[0].attributes["gen_ai.evaluation.score.label"] for root in (ran, judged)]
    assert verdicts == ["time_limit", "wrong_answer"]
    assert not any("while True" in str(span.attributes) for span in spans())


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
    ],
)
def test_the_standard_variables_switch_it(variables, on):
    assert tracing.is_on(variables) is on


def test_spans_go_to_the_collector_that_the_variables_name(monkeypatch):
    bodies = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
        for name, value in (variables | {"OTEL_EXPORTER_OTLP_COMPRESSION": "none"}).items():
            monkeypatch.setenv(name, value)
        processor = tracing._exporting(variables)
        tracing.tracer_of(processor).start_span("chat frontier").end()
        assert processor.force_flush(30_000)
        processor.shutdown()
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    ((path, body),) = bodies
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert resource.scope_spans[0].spans[0].name == "chat frontier"
    assert {item.key: item.value.string_value for item in resource.resource.attributes}[
        "service.name"
    ] == "alpharay"


def test_a_protocol_that_is_none_is_named_with_the_way_out():
    with pytest.raises(ValueError, match=r"choose http/protobuf or grpc"):
        tracing._exporting({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
