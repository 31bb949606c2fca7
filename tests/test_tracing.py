"""Spans as a collector receives them over OTLP: our attributes, nothing that a client wrote."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode

MARK = "QUOKKA-4711"


class Collector(ThreadingHTTPServer):
    """Takes traces at `/v1/traces` as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.bodies: list[bytes] = []
        self.headers: list[str] = []


class Receiver(BaseHTTPRequestHandler):
    """One export."""

    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.bodies.append(body)
        self.server.headers.append(str(self.headers))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()
        self.wfile.write(ExportTraceServiceResponse().SerializeToString())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    server = Collector()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    yield server
    server.shutdown()
    server.server_close()


def test_a_collector_gets_spans_without_what_a_client_may_have_written(
    collector: Collector,
) -> None:
    from doctor_sun.serving.tracing import exporter

    provider = TracerProvider()
    for processor in exporter("unused"):
        provider.add_span_processor(processor)
    with provider.get_tracer("test").start_as_current_span(f"GET /{MARK}") as span:
        span.set_attributes({"http.route": "/v1/models", "http.url": MARK, "request_id": "1"})
        span.add_event(MARK)
        span.record_exception(ValueError(MARK))
        span.set_status(Status(StatusCode.ERROR, MARK))
    provider.shutdown()  # what waits is sent
    [body] = collector.bodies
    assert MARK.encode() not in body
    assert MARK not in "".join(collector.headers)
    request = ExportTraceServiceRequest.FromString(body)
    [[[received]]] = [[s.spans for s in r.scope_spans] for r in request.resource_spans]
    assert received.name == "GET"
    attributes = {pair.key: pair.value.string_value for pair in received.attributes}
    assert attributes == {"http.route": "/v1/models", "request_id": "1"}
    assert received.status.code == 2  # an error, as OTLP numbers it
    assert received.end_time_unix_nano >= received.start_time_unix_nano > 0
