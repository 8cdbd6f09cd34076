"""What the gateway tells Prometheus: figures and names, no texts."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from compass.serve.exchange import Exchange
from compass.serve.fleet import Fleet
from compass.serve.keeper import Keeper
from compass.serve.prompt_log import PromptLog
from compass.serve.rollout import Rollout

__all__ = ["CONTENT_TYPE_LATEST", "Measures"]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LABELS = ("language", "version")


class Measures:
    """Counts exchanges as they end."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        prompts: PromptLog | None = None,
        keeper: Keeper | None = None,
        rollout: Rollout | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "compass_requests", "Requests by who answered and HTTP status.", (*LABELS, "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "compass_request_seconds", "Seconds until an answer ended.", LABELS, registry=self.registry, buckets=BUCKETS
        )
        self._first = Histogram(
            "compass_first_byte_seconds", "Seconds until an answer began.", LABELS, registry=self.registry,
            buckets=BUCKETS,
        )  # fmt: skip
        self._refused = Counter(
            "compass_refused", "Requests that were not passed on.", ("code",), registry=self.registry
        )
        self._fleet, self._prompts, self._keeper, self._rollout = fleet, prompts, keeper, rollout
        self.registry.register(self)

    def ended(self, exchange: Exchange) -> None:
        """Count an exchange."""
        who = (exchange.route.language, str(exchange.route.version))
        self._requests.labels(*who, str(exchange.status)).inc()
        self._seconds.labels(*who).observe(exchange.seconds)
        if exchange.first_byte:
            self._first.labels(*who).observe(exchange.first_byte)

    def refused(self, code: str) -> None:
        """Count a request that was not passed on."""
        self._refused.labels(code).inc()

    def collect(self) -> Iterable[Metric]:
        """Yield what holds now."""
        lost = CounterMetricFamily("compass_lost", "What was not kept, by reason.", labels=("what", "reason"))
        for what, one in (("prompt", self._prompts), ("answer", self._keeper)):
            for reason, n in one.dropped.items() if one else ():
                lost.add_metric((what, reason), float(n))
        written = CounterMetricFamily("compass_prompts_written", "Prompts handed on to the monitor.")
        written.add_metric((), float(self._prompts.written if self._prompts else 0))
        shadows = CounterMetricFamily("compass_shadow", "Copies to candidates, by outcome.", labels=("outcome",))
        for outcome, n in self._rollout.shadows.items() if self._rollout else ():
            shadows.add_metric((outcome,), float(n))
        up = GaugeMetricFamily("compass_backend_up", "Whether a backend answers.", labels=("backend",))
        running = GaugeMetricFamily("compass_running", "Requests that run at a backend.", labels=("backend",))
        for replica in self._fleet.replicas:
            up.add_metric((replica.name,), float(replica.healthy))
            running.add_metric((replica.name,), float(replica.running.total()))
        live = GaugeMetricFamily("compass_live_version", "Version that a language's tag means.", labels=("language",))
        for language, version in self._fleet.live.items():
            live.add_metric((language,), float(version))
        wrong = GaugeMetricFamily(
            "compass_registry_problem",
            "1 where the registry, or a language in it, can't be read; what is served stays. The log says why.",
            labels=("language",),
        )
        for language in tuple(self._fleet.problems):
            wrong.add_metric((language,), 1.0)
        return (up, running, live, wrong, lost, written, shadows)

    def text(self) -> bytes:
        """Return all of it as `/metrics` answers."""
        return bytes(generate_latest(self.registry))  # type: ignore[no-untyped-call]
