"""The demo's catalogue and its listeners.

Artists of six overlapping styles are rendered to tagged files in several formats; the listeners are a synthetic world
over these tracks, with taste in the styles' own space.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ...errors import UsageError
from ..interactions.statistics import DAY_SECONDS
from .composition import BRIDGES, STYLES, Sound, artist_sound, track_sound
from .instruments import SAMPLE_RATE, Samples
from .synthesizer import render
from .tracks import EPOCH_SECONDS, WorldTracks, artist_names, title
from .world import World, WorldOptions

FORMATS = ("mp3", "mp3", "mp3", "flac", "ogg", "m4a", "wav")
"""what the files are, in the shares of an ordinary collection"""
_OGG_BLOCK_FRAMES = 65_536
UNPLAYED_SHARE = 0.08
"""of the tracks came out too late for anyone to have played them"""
_FRESH_SHARE = 0.12
"""came out while the log ran"""
_MARKER = ".catalogue.json"
_VERSION = 1
"""of what a seed renders to; a folder of another version is rendered anew"""


@dataclass(frozen=True, kw_only=True)
class CatalogueOptions:
    """How much to render, and from which seed."""

    seed: int = 0
    artists_per_style: int = 4
    tracks_per_artist: int = 3
    shortest_seconds: float = 20.0
    longest_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.artists_per_style < 1 or self.tracks_per_artist < 1:
            raise UsageError("catalogue: needs at least one artist a style and one track an artist")
        if not 1 <= self.shortest_seconds <= self.longest_seconds:
            raise UsageError(
                f"seconds: {self.shortest_seconds:g} … {self.longest_seconds:g}, but a track lasts at least 1"
            )


@dataclass(frozen=True)
class DemoTrack:
    """A track before it is rendered."""

    path: str
    """relative to the catalogue's folder; also its track_id once embedded"""
    title: str
    artist: str
    album: str
    style: str
    sound: Sound
    year: int
    seconds: float
    loudness_dbfs: float
    """root mean square"""
    seed: int


def plan(options: CatalogueOptions | None = None) -> list[DemoTrack]:
    """What the catalogue holds; the same for the same options."""
    options = options or CatalogueOptions()
    rng = np.random.default_rng([options.seed, 10])
    cast: list[tuple[str, str | None]] = [(style, None) for style in STYLES for _ in range(options.artists_per_style)]
    cast += BRIDGES
    tracks = []
    for name, (style, bridge) in zip(artist_names(len(cast), rng), cast, strict=True):
        artist = artist_sound(style, rng, bridge=bridge)
        album = title(rng)
        first_year = int(rng.integers(1996, 2022))
        for number in range(1, options.tracks_per_artist + 1):
            called = title(rng)
            tracks.append(
                DemoTrack(
                    path=f"{name}/{number:02} {called}.{FORMATS[rng.integers(len(FORMATS))]}",
                    title=called,
                    artist=name,
                    album=album,
                    style=style if bridge is None else f"{style}/{bridge}",
                    sound=track_sound(artist, rng),
                    year=first_year + number // 3,
                    seconds=round(float(rng.uniform(options.shortest_seconds, options.longest_seconds)), 2),
                    loudness_dbfs=float(rng.uniform(-26, -12)),
                    seed=int(rng.integers(2**31)),
                )
            )
    return tracks


def waveform(track: DemoTrack) -> Samples:
    """The track as it sounds, at its own loudness, never clipped."""
    samples = render(track.sound, seconds=track.seconds, seed=track.seed)
    gain = 10 ** (track.loudness_dbfs / 20) / max(1e-9, float(np.sqrt(np.mean(samples**2))))
    return np.asarray(samples * min(gain, 0.98), np.float32)


def write_catalogue(folder: Path, tracks: list[DemoTrack]) -> Iterator[Path]:
    """Renders what is not there yet; yields each file as it stands. Interrupted, it carries on where it stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / _MARKER
    signature = json.dumps({"version": _VERSION, "tracks": [asdict(track) for track in tracks]})
    keep = marker.is_file() and marker.read_text() == signature
    if not keep:
        for track in tracks:
            (folder / track.path).unlink(missing_ok=True)
        marker.write_text(signature)
    for track in tracks:
        path = folder / track.path
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            unfinished = path.with_name(f".unfinished{path.suffix}")
            write_audio(unfinished, waveform(track))
            write_tags(unfinished, track)
            unfinished.replace(path)
        yield path


def write_audio(path: Path, samples: Samples) -> None:
    """Encodes mono samples in the format that the suffix names."""
    if path.suffix == ".m4a":
        _write_m4a(path, samples)
        return
    kinds = {".mp3": ("MP3", None), ".ogg": ("OGG", "VORBIS"), ".flac": ("FLAC", "PCM_16"), ".wav": ("WAV", "PCM_16")}
    kind, subtype = kinds[path.suffix]
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, subtype, format=kind) as file:
        # libsndfile's Vorbis encoder overflows its stack on large blocks.
        for start in range(0, len(samples), _OGG_BLOCK_FRAMES):
            file.write(samples[start : start + _OGG_BLOCK_FRAMES])


def _write_m4a(path: Path, samples: Samples) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def write_tags(path: Path, track: DemoTrack) -> None:
    """Artist, title, album, genre and year, as a tagger would leave them."""
    import mutagen
    from mutagen.id3 import TALB, TCON, TDRC, TIT2, TPE1
    from mutagen.wave import WAVE

    values = {
        "title": track.title,
        "artist": track.artist,
        "album": track.album,
        "genre": track.style.partition("/")[0],
        "date": str(track.year),
    }
    if path.suffix == ".wav":  # no easy names for the ID3 chunk of a RIFF file
        file: Any = WAVE(path)  # type: ignore[no-untyped-call]
        file.add_tags()
        for frame, value in zip((TIT2, TPE1, TALB, TCON, TDRC), values.values(), strict=True):
            file.tags.add(frame(encoding=3, text=[value]))  # type: ignore[no-untyped-call]
        file.save()
        return
    file = mutagen.File(path, easy=True)
    if file.tags is None:
        file.add_tags()
    file.update(values)
    file.save()


def demo_world(tracks: Sequence[DemoTrack], *, users: int = 400, seed: int = 0) -> World:
    """Listeners of the catalogue; its track_ids are the paths within the catalogue's folder."""
    rng = np.random.default_rng([seed, 20])
    options = WorldOptions(
        users=users, tracks=len(tracks), groups=len(STYLES), seed=seed, listens_per_user=40, candidates=12, days=120
    )
    points = np.stack([track.sound.vector() for track in tracks])
    points -= points.mean(axis=0)
    count = len(tracks)
    fame = dict(zip(dict.fromkeys(track.artist for track in tracks), rng.pareto(1.5, count) + 0.5, strict=False))
    popularity = np.array([fame[track.artist] for track in tracks]) * (rng.pareto(2.0, count) + 0.3)
    order = rng.permutation(count)
    unplayed = order[: max(1, round(UNPLAYED_SHARE * count))]
    fresh = order[len(unplayed) : len(unplayed) + round(_FRESH_SHARE * count)]
    popularity[unplayed] = 0
    released = np.array([datetime(track.year, 6, 1, tzinfo=UTC).timestamp() for track in tracks], np.int64)
    released[fresh] = EPOCH_SECONDS + DAY_SECONDS * rng.integers(options.days // 2, options.days * 9 // 10, len(fresh))
    released[unplayed] = EPOCH_SECONDS + DAY_SECONDS * options.days
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


def unplayed_tracks(world: World) -> list[str]:
    """The track_ids that nobody has played."""
    return [world.tracks.track_ids[row] for row in np.flatnonzero(world.tracks.popularity == 0)]
