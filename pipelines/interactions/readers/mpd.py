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
from typing import Any

import polars as pl

from ....errors import DataError
from ..columns import find, id_text, naming, need, scan_parquet
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
    folder = path if path.is_dir() else path.parent
    slices = sorted(folder.glob("**/mpd.slice.*.json"))
    if slices:
        return _read_slices(path, slices, scratch)
    return _read_parquet(folder if path.exists() else path)


def _read_parquet(folder: Path) -> SourceLog:
    entries_path = find(folder, "playlist_tracks.parquet")
    entries = scan_parquet(entries_path)
    need(entries, entries_path, ["playlist_id", "position", "track_id"])
    tracks_path = find(folder, "tracks.parquet")
    tracks = scan_parquet(tracks_path)
    need(tracks, tracks_path, ["track_id", "artist", "title"])
    track_id = id_text(tracks, tracks_path, "track_id").alias("track_id")
    features = [name for name in AUDIO_FEATURES if name in tracks.collect_schema()]
    return SourceLog(
        folder,
        entries.select(
            id_text(entries, entries_path, "playlist_id").alias("user_id"),
            id_text(entries, entries_path, "track_id").alias("track_id"),
            "position",
        ),
        tracks.select(track_id, "title", pl.concat_list("artist").list.drop_nulls().alias("artists")),
        SourceVectors("features", tracks.select(track_id, *features)) if features else None,
    )


def _read_slices(path: Path, slices: list[Path], scratch: Path) -> SourceLog:
    for number, file in enumerate(slices):
        rows = [
            (
                str(playlist["pid"]),
                track["pos"],
                track["track_uri"].rpartition(":")[2],
                track["track_name"],
                [track["artist_name"]],
                track["album_name"],
            )
            for playlist, track in _entries(file)
        ]
        schema = {
            "user_id": pl.String(),
            "position": pl.Int64(),
            "track_id": pl.String(),
            "title": pl.String(),
            "artists": pl.List(pl.String()),
            "album": pl.String(),
        }
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(scratch / f"slice-{number:05}.parquet")
    entries = pl.scan_parquet(scratch / "slice-*.parquet")
    tracks = entries.group_by("track_id").agg(pl.col("title", "artists", "album").first())
    return SourceLog(path, entries.select("user_id", "track_id", "position"), tracks)


def _entries(file: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    with naming(file):
        text = file.read_bytes()
    try:
        playlists = json.loads(text)["playlists"]
        found = [(playlist, track) for playlist in playlists for track in playlist["tracks"]]
        for _, track in found:
            track["pos"], track["track_uri"], track["track_name"], track["artist_name"], track["album_name"]
        if any("pid" not in playlist for playlist in playlists):
            raise KeyError("pid")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: not a slice of the Million Playlist Dataset ({error}); is it whole?") from error
    return found
