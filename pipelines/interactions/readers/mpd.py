"""Reader of the Million Playlist Dataset: a playlist is a user, and the order in it is the order of listening.

Either the published slices, `mpd.slice.<from>-<to>.json`:

    {"info": …, "playlists": [{"pid": 0, "name": …, "modified_at": …, "tracks": [
        {"pos": 0, "track_uri": "spotify:track:0UaMYEvWZi0ZqiDOoHU3YI", "track_name": …, "artist_uri": …,
         "artist_name": …, "album_uri": …, "album_name": …, "duration_ms": …}, …]}, …]}

where the track id is the last part of `track_uri` (a playlist's `modified_at` says nothing about its entries and is not
read); or a pair of Parquet files:

    playlist_tracks.parquet   playlist_id i64, position i64, track_id i64
    tracks.parquet            track_id i64, spotify_id str, artist str, title str, and mean audio features f64:
                              acousticness danceability duration_ms energy instrumentalness liveness loudness
                              speechiness tempo valence key mode

The ten features that have an order become the sound vectors `features`, as they are; `key` (a circle) and `mode` are
left out. Scaling them is the trainer's business.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from ....errors import DataError
from ..columns import SourceTable, find, reading
from ..schema import SourceLog, SourceVectors

AUDIO_FEATURES = (
    "acousticness",
    "danceability",
    "duration_ms",
    "energy",
    "instrumentalness",
    "liveness",
    "loudness",
    "speechiness",
    "tempo",
    "valence",
)


def read(path: Path, scratch: Path) -> SourceLog:
    """The log in a folder (or one slice file); the slices are unpacked into `scratch`."""
    if path.is_file() and path.suffix == ".json":
        return _read_slices(path, [path], scratch)
    if slices := sorted((path.parent if path.is_file() else path).glob("**/mpd.slice.*.json")):
        return _read_slices(path, slices, scratch)
    entries = SourceTable.parquet(find(path, "playlist_tracks.parquet"), "playlist_id", "position", "track_id")
    tracks = SourceTable.parquet(find(path, "tracks.parquet"), "track_id", "artist", "title")
    track_id = tracks.id("track_id")
    features = [name for name in AUDIO_FEATURES if name in tracks.schema]
    return SourceLog(
        path,
        entries.select(user_id=entries.id("playlist_id"), track_id=entries.id("track_id"), position="position"),
        tracks.select(track_id=track_id, title="title", artists=pl.concat_list("artist").list.drop_nulls()),
        SourceVectors("features", tracks.frame.select(track_id, *features)) if features else None,
    )


def _read_slices(path: Path, slices: list[Path], scratch: Path) -> SourceLog:
    schema = {
        "user_id": pl.String(),
        "position": pl.Int64(),
        "track_id": pl.String(),
        "title": pl.String(),
        "artists": pl.List(pl.String()),
        "album": pl.String(),
    }
    for number, file in enumerate(slices):
        rows = pl.DataFrame(_entries(file), schema=schema, orient="row")
        rows.write_parquet(scratch / f"slice-{number:05}.parquet")
    entries = pl.scan_parquet(sorted(scratch.glob("slice-*.parquet")), glob=False)
    tracks = entries.group_by("track_id").agg(pl.col("title", "artists", "album").first())
    return SourceLog(path, entries.select("user_id", "track_id", "position"), tracks)


def _entries(file: Path) -> list[tuple[str, int, str, str, list[str], str]]:
    """The columns of `_read_slices` for each entry of each playlist."""
    with reading(file):
        text = file.read_bytes()
    try:
        return [
            (
                str(playlist["pid"]),
                track["pos"],
                track["track_uri"].rpartition(":")[2],
                track["track_name"],
                [track["artist_name"]],
                track["album_name"],
            )
            for playlist in json.loads(text)["playlists"]
            for track in playlist["tracks"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not a slice of the Million Playlist Dataset ({error}); is it whole?") from error
