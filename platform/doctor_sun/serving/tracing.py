"""OpenTelemetry spans of Ray Serve's requests, for `RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH`.

They go to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names. An attribute that could hold what
a client wrote (addresses, bodies, messages) is dropped on the way.
"""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status

KEPT = {
    *("request_id", "replica_id", "deployment", "app", "application", "route", "http.method"),
    *("http.route", "http.status_code", "http.request.method", "http.response.status_code"),
}
"""Attributes that Serve makes itself."""


class WithoutContents(SpanExporter):
    """Passes spans on with the attributes that are ours."""

    def __init__(self, behind: SpanExporter) -> None:
        self.behind = behind

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter`."""
        return self.behind.export([cleaned(span) for span in spans])

    def shutdown(self) -> None:
        """See `SpanExporter`."""
        self.behind.shutdown()


def cleaned(span: ReadableSpan) -> ReadableSpan:
    """A span without events, links, and attributes that are not known to be harmless."""
    kept = {name: value for name, value in (span.attributes or {}).items() if name in KEPT}
    return ReadableSpan(
        name=span.name.partition(" ")[0],
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=kept,
        kind=span.kind,
        status=Status(span.status.status_code),  # without the text of an error
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def exporter(file_name: str) -> list[SpanProcessor]:
    """What Ray Serve asks for; `file_name` is where its own exporter would write."""
    return [BatchSpanProcessor(WithoutContents(OTLPSpanExporter()))]
