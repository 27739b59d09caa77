"""Metrics for Prometheus, in a registry of their own so that many applications fit into one process.

Where several processes answer at one address, whichever is asked gives the numbers of all: counts and uploads added
up, the snapshot's as they are in the process that is furthest behind.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""environment: the folder by which several processes share their numbers; read when prometheus_client is imported"""

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

        def furthest_behind(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=registry, multiprocess_mode="livemin")

        self._tracks = furthest_behind("crossfade_tracks", "Tracks that can be found")
        self._swaps = furthest_behind("crossfade_snapshots", "Snapshots taken into use")
        self._trained_at = furthest_behind("crossfade_trained_at_seconds", "When the version was trained")
        self.waiting_uploads = Gauge(
            "crossfade_uploads_waiting",
            "Uploads analyzed or waiting for it",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def snapshot_taken(self, tracks: int, trained_at: int, swaps: int) -> None:
        self._tracks.set(tracks)
        self._trained_at.set(trained_at)
        self._swaps.set(swaps)

    def text(self) -> bytes:
        if METRICS_VARIABLE not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
