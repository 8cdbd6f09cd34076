"""A span of OpenTelemetry for each request, between those of client and model server: names and figures, no texts."""

from __future__ import annotations

import importlib.util
from typing import Any

from compass.serve.exchange import Exchange
from compass.serve.protocol import Headers

CONTEXT = ("traceparent", "tracestate")
"""Headers of W3C Trace Context."""


class Spans:
    """Writes spans. provider: None takes the one that the process has set up; without one nothing is written."""

    def __init__(self, provider: Any = None) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace, self._context = trace, TraceContextTextMapPropagator()
        self._tracer = trace.get_tracer("compass.serve", tracer_provider=provider)

    def started(self, exchange: Exchange, headers: Headers) -> Headers:
        """Start a span within the client's trace; return a request's headers with the span as the caller."""
        parent = self._context.extract({name: value for name, value in headers if name in CONTEXT})
        span = self._tracer.start_span("compass.request", parent, self._trace.SpanKind.SERVER)
        if not span.is_recording():
            # Nobody writes spans down, or this trace is not sampled: the client's context is passed on as it came.
            return headers
        exchange.span = span
        ours: dict[str, str] = {}
        self._context.inject(ours, self._trace.set_span_in_context(span))
        return (*((name, value) for name, value in headers if name not in CONTEXT), *ours.items())

    def ended(self, exchange: Exchange) -> None:
        """End a request's span."""
        span = exchange.span
        if span is None:
            return
        span.set_attributes(
            {
                "http.request.method": "POST",
                "http.route": exchange.path,
                "http.response.status_code": exchange.status,
                "compass.language": exchange.route.language,
                "compass.version": exchange.route.version,
                "compass.backend": exchange.backend,
                "compass.first_byte_seconds": exchange.first_byte,
            }
        )
        if exchange.failed:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()


def spans() -> Spans | None:
    """Return what writes spans; None where OpenTelemetry is not installed."""
    return None if importlib.util.find_spec("opentelemetry") is None else Spans()
