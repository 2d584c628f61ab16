"""What the gateway counts, in Prometheus' terms. No label holds a name that a caller chose."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.gateway.tally import Histogram

FAST = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2)
CALLS = (5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """One registry, and a field per metric."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter(
            "ellesmere_gateway_calls",
            "Calls answered, by method and code",
            ("method", "code"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "ellesmere_gateway_call_seconds",
            "Time of a unary call in the gateway",
            CALLS,
            label="method",
        )
        self.decision = Histogram(
            "ellesmere_gateway_decision_seconds",
            "Time to choose class and worker",
            FAST,
        )
        self.retries = Counter(
            "ellesmere_gateway_retries",
            "Attempts that failed at a worker, by code",
            ("code",),
            registry=self.registry,
        )
        self.accepted = Counter(
            "ellesmere_jobs_accepted",
            "Durable jobs stored",
            ("kind",),
            registry=self.registry,
        )
        self.held = Gauge(
            "ellesmere_gateway_in_flight_bytes",
            "Bytes of requests in hand",
            registry=self.registry,
        )
        for histogram in (self.seconds, self.decision):
            self.registry.register(histogram)
