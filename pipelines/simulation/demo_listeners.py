"""The demo's listeners: a synthetic world over the rendered catalogue, with taste in the styles' own space."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from .demo_catalogue import DemoTrack, latents
from .options import WorldOptions
from .styles import STYLES
from .tracks import DAY_SECONDS, EPOCH_SECONDS, WorldTracks
from .world import World

UNHEARD_SHARE = 0.08
"""of the tracks came out too late for anyone to have played them"""
_FRESH_SHARE = 0.12
"""came out while the log ran"""


def demo_world(tracks: Sequence[DemoTrack], *, users: int = 400, seed: int = 0) -> World:
    """Listeners of the catalogue; its track_ids are the paths within the catalogue's folder."""
    rng = np.random.default_rng([seed, 20])
    options = WorldOptions(
        users=users, tracks=len(tracks), groups=len(STYLES), seed=seed, listens_per_user=40, candidates=12, days=120
    )
    points = latents(list(tracks))
    count = len(tracks)
    fame = dict(zip(dict.fromkeys(track.artist for track in tracks), rng.pareto(1.5, count) + 0.5, strict=False))
    popularity = np.array([fame[track.artist] for track in tracks]) * (rng.pareto(2.0, count) + 0.3)
    order = rng.permutation(count)
    unheard = order[: max(1, round(UNHEARD_SHARE * count))]
    fresh = order[len(unheard) : len(unheard) + round(_FRESH_SHARE * count)]
    popularity[unheard] = 0
    released = np.array([datetime(track.year, 6, 1, tzinfo=UTC).timestamp() for track in tracks], np.int64)
    released[fresh] = EPOCH_SECONDS + DAY_SECONDS * rng.integers(options.days // 2, options.days * 9 // 10, len(fresh))
    released[unheard] = EPOCH_SECONDS + DAY_SECONDS * options.days
    styles = tuple(STYLES)
    return World(
        options,
        WorldTracks(
            track_ids=tuple(track.path for track in tracks),
            titles=tuple(track.title for track in tracks),
            artists=tuple((track.artist,) for track in tracks),
            albums=tuple(track.album for track in tracks),
            style_names=styles,
            style_rows=np.array([styles.index(track.style.partition("/")[0]) for track in tracks], np.int32),
            latents=points / np.linalg.norm(points, axis=1, keepdims=True),
            sound=points,
            popularity=popularity / popularity.sum(),
            released_at=released,
            duration_seconds=np.array([round(track.seconds) for track in tracks], np.int64),
        ),
    )


def unheard_tracks(world: World) -> list[str]:
    """The track_ids that nobody has played."""
    return [world.tracks.track_ids[row] for row in np.flatnonzero(world.tracks.popularity == 0)]
