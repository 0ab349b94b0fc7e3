"""Spans and metrics with declared names. OTLP leaves the process only when an endpoint is set."""

from collections.abc import Mapping

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context as TraceContext
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

_SCOPE = "citycard.runtime"

# Every metric that the runtime writes; the name a dashboard may rely on.
RPC_SERVER_CALLS = "citycard.rpc.server.calls"
RPC_SERVER_DURATION = "citycard.rpc.server.duration"
RPC_SERVER_REFUSALS = "citycard.rpc.server.refusals"
OUTBOX_PUBLISHED = "citycard.outbox.published"
OUTBOX_FAILED = "citycard.outbox.failed"
INBOX_HANDLED = "citycard.inbox.handled"
INBOX_DUPLICATES = "citycard.inbox.duplicates"
INBOX_RETRIED = "citycard.inbox.retried"
INBOX_DEAD = "citycard.inbox.dead_letters"
BACKGROUND_CRASHES = "citycard.background.crashes"


def configure_telemetry(service: str, otlp_endpoint: str | None = None, reader: MetricReader | None = None) -> None:
    """Install the tracer and meter providers of this process; call once, at start.

    Without an endpoint spans still get ids, for logs and for propagation, and nothing is exported.

    Args:
        service: Resource name `service.name`.
        otlp_endpoint: `http://host:4317` of a collector, or None.
        reader: An extra metric reader, for tests.
    """
    resource = Resource.create({"service.name": f"citycard-{service}"})
    tracers = TracerProvider(resource=resource)
    readers = [reader] if reader else []
    if otlp_endpoint:
        # Imported here: the exporter is heavy and most processes on a laptop have no collector.
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_endpoint)))
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=otlp_endpoint)))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider(metric_readers=readers, resource=resource))


def tracer() -> trace.Tracer:
    """The tracer of the runtime and of the services."""
    return trace.get_tracer(_SCOPE)


def counter(name: str, description: str, unit: str = "1") -> Counter:
    """A counter; its name is one of the constants of this module or of the service's own."""
    return metrics.get_meter(_SCOPE).create_counter(name, unit=unit, description=description)


def histogram(name: str, description: str, unit: str = "s") -> Histogram:
    """A histogram; durations are in seconds."""
    return metrics.get_meter(_SCOPE).create_histogram(name, unit=unit, description=description)


def traceparent() -> str:
    """The W3C trace context of the current span, empty when there is none."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent", "")


def remote_context(carrier: Mapping[str, str]) -> TraceContext:
    """The trace context that a caller or an event sent along, from its `traceparent` and `tracestate`."""
    return propagate.extract({name: carrier[name] for name in ("traceparent", "tracestate") if carrier.get(name)})
