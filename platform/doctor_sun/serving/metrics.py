"""What Prometheus sees of the endpoint: counts and times by model and route, nobody's name.

They are Ray's metrics: every node offers them, with Ray's and vLLM's own, at its metrics port, and
`deploy/grafana/serving.json` draws them.
"""

from ray.serve.metrics import Counter, Gauge, Histogram

from doctor_sun.serving.audit import Exchange

SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]
TOKEN_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1]


class Metrics:
    """The metrics of one replica."""

    def __init__(self) -> None:
        requests = ("model", "route", "status")
        self.requests = Counter("doctor_sun_requests", "Requests that ended.", requests)
        self.refused = Counter(
            "doctor_sun_refusals", "Requests that were refused, by reason.", ("route", "reason")
        )
        self.tokens = Counter(
            "doctor_sun_tokens", "Tokens read (prompt) and written (completion).", ("model", "kind")
        )
        self.first_token = Histogram(
            "doctor_sun_time_to_first_token_seconds",
            "From the request to the first piece of a streamed answer.",
            SECONDS,
            ("model",),
        )
        self.token_time = Histogram(
            "doctor_sun_time_per_token_seconds",
            "Mean time of a token after the first, by streamed answer.",
            TOKEN_SECONDS,
            ("model",),
        )
        self.seconds = Histogram(
            "doctor_sun_request_seconds", "From the request to its end.", SECONDS, ("route",)
        )
        self.audit_missing = Counter(
            "doctor_sun_audit_missing", "Requests that the audit log had no room for."
        )
        self.in_flight = Gauge("doctor_sun_requests_in_flight", "Requests being answered.")

    def ended(self, exchange: Exchange) -> None:
        """Count a request that ended."""
        model, route, status = exchange.model or "none", exchange.route, str(exchange.status)
        self.requests.inc(1, {"model": model, "route": route, "status": status})
        self.seconds.observe(exchange.seconds, {"route": route})
        if exchange.code:
            self.refused.inc(1, {"route": route, "reason": exchange.code})
        for kind, tokens in (
            ("prompt", exchange.prompt_tokens),
            ("completion", exchange.completion_tokens),
        ):
            if tokens:
                self.tokens.inc(tokens, {"model": model, "kind": kind})
        if exchange.first_token is not None:
            self.first_token.observe(exchange.first_token, {"model": model})
            if exchange.completion_tokens > 1:
                rest = (exchange.seconds - exchange.first_token) / (exchange.completion_tokens - 1)
                self.token_time.observe(rest, {"model": model})
