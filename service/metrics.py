"""Metrics for Prometheus, in a registry of their own so that many applications fit into one process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counts what the service does."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("crossfade_requests", "Answers", ("endpoint", "method", "status"), registry=registry)
        self.seconds = Histogram(
            *("crossfade_request_seconds", "Time to the last byte of an answer", ("endpoint",)),
            buckets=_SECONDS,
            registry=registry,
        )
        self.events = Counter("crossfade_events", "Events", ("outcome",), registry=registry)
        self.incomplete = Counter(
            "crossfade_incomplete_answers", "Answers that had to do without a part", registry=registry
        )
        self.tracks = Gauge("crossfade_tracks", "Tracks that can be found", registry=registry)
        self.swaps = Gauge("crossfade_snapshots", "Snapshots taken into use", registry=registry)
        self.trained_at = Gauge("crossfade_trained_at_seconds", "When the version was trained", registry=registry)
        self.waiting_uploads = Gauge(
            "crossfade_uploads_waiting", "Uploads analyzed or waiting for it", registry=registry
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)
