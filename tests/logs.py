"""Listening logs of a few lines, in the schema of each format, and how they get into a library."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from crossfade.pipelines.interactions.importer import ImportSummary, import_log
from crossfade.pipelines.interactions.options import ImportOptions
from crossfade.pipelines.interactions.readers.mpd import AUDIO_FEATURES
from crossfade.pipelines.interactions.schema import read_listens
from crossfade.pipelines.library.store import Library


def bring(library: Library, path: Path, format: str, **options: Any) -> ImportSummary:
    return import_log(library, path, ImportOptions(format=format, **options))


def events(library: Library, *columns: str) -> list[tuple[Any, ...]]:
    return sorted(read_listens(library).select("user_id", "track_id", *columns).collect().rows(), key=str)


def tracks(library: Library, *columns: str) -> dict[str, Any]:
    table = library.tracks()
    return dict(zip(table["track_id"], table.select(columns).rows() if columns[1:] else table[columns[0]], strict=True))


def mpd(folder: Path) -> None:
    pl.DataFrame({"playlist_id": [0, 0, 7], "position": [1, 0, 0], "track_id": [11, 10, 11]}).write_parquet(
        folder / "playlist_tracks.parquet"
    )
    features: dict[str, list[float | None]] = {name: [0.5, None, 2.0] for name in AUDIO_FEATURES}
    pl.DataFrame(
        {
            "track_id": [10, 11, 12],
            "spotify_id": ["a", "b", "c"],
            "artist": ["A", "B", None],
            "title": ["x", "y", "z"],
            **features,
            "key": [1.0, None, 2.0],
            "mode": [1.0, None, 0.0],
        }
    ).write_parquet(folder / "tracks.parquet")


def slice_file(folder: Path) -> Path:
    entry = {
        "pos": 0,
        "artist_name": "Missy Elliott",
        "track_uri": "spotify:track:0UaMYEvWZi0ZqiDOoHU3YI",
        "artist_uri": "spotify:artist:2wIVse2owClT7go1WT98tk",
        "track_name": "Lose Control",
        "album_uri": "spotify:album:6vV5UrXcfyQD1wu4Qo2I9K",
        "duration_ms": 226863,
        "album_name": "The Cookbook",
    }
    playlist = {"name": "Throwbacks", "pid": 5, "modified_at": 1493424000, "num_tracks": 2}
    slices = {
        "info": {},
        "playlists": [{**playlist, "tracks": [entry, {**entry, "pos": 1, "track_uri": "spotify:track:2"}]}],
    }
    file = folder / "mpd.slice.0-999.json"
    file.write_text(json.dumps(slices))
    return file


RATINGS = """userId,movieId,rating,timestamp,,,,
1,31,2.5,1260759144,,,,
1,1029,3,1260759179,,3.45,,3.54
2,31,4,835355493,,,,
"""


MOVIES = """movieId,title,genres
31,Dangerous Minds (1995),Drama
1029,"Dumbo, ""D"" (1941)",Animation|Children
5,?,(no genres listed)
"""


def movielens(folder: Path) -> None:
    (folder / "ratings.csv").write_text(RATINGS)
    (folder / "movies.csv").write_text(MOVIES)


def lastfm(folder: Path, encoding: str = "utf-8") -> None:
    (folder / "user_artists.dat").write_bytes(
        b"userID\tartistID\tweight\r\n2\t51\t13883\r\n2\t52\t11690\r\n3\t51\t7\r\n"
    )
    text = 'id\tname\turl\tpictureURL\n51\tBjörk\thttp://x\thttp://y\n52\t"Weird Al\thttp://x\t\n53\tC\t\t\n'
    (folder / "artists.dat").write_bytes(text.encode(encoding))
    header = ",".join(["id", "name", *AUDIO_FEATURES, "key", "mode"])
    (folder / "artist_audio_features.csv").write_text(
        f"{header}\n51,Björk,{','.join('1' * 10)},9,1\n53,C,{','.join('3' * 10)},9,1\n"
    )


def yandex(folder: Path) -> None:
    lists = pl.List(pl.Int64)
    pl.DataFrame(
        {
            "track_id": [26, 38, 135],
            "albums": [[3, 4], [1], []],
            "artists": [[16], [16, 17], [16]],
            "genres": [[11, 21], [999], None],
        },
        schema={"track_id": pl.Int64, "albums": lists, "artists": lists, "genres": lists},
    ).write_parquet(folder / "tracks.parquet")
    names = [
        (3, "album", "Same"),
        (4, "album", "Same"),
        (1, "album", "Other"),
        (16, "artist", "E"),
        (17, "artist", "F"),
        (11, "genre", "pop"),
        (21, "genre", "folk"),
        (26, "track", "T26"),
        (38, "track", "T38"),
        (16, "track", "not an artist"),
        (11, "artist", "not a genre"),
    ]
    pl.DataFrame(names, schema=["id", "type", "name"], orient="row").write_parquet(folder / "catalog_names.parquet")
    pl.DataFrame(
        {
            "user_id": [0, 0, 1, 2],
            "track_id": [26, 38, 26, 7],
            "track_seq": [1, 2, 1, 1],
            "started_at": [datetime(2022, 7, day) for day in (17, 18, 19, 20)],
        },
        schema_overrides={"user_id": pl.Int32, "track_id": pl.Int32, "track_seq": pl.Int16},
    ).write_parquet(folder / "interactions.parquet")


def yambda_events(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns).with_columns(pl.col("uid", "item_id", "timestamp").cast(pl.UInt32))


def yambda(folder: Path) -> None:
    yambda_events(
        uid=[10, 10, 20],
        item_id=[1, 1, 2],
        timestamp=[5, 10, 15],
        is_organic=[1, 0, 1],
        played_ratio_pct=[100, 10, 49],
        track_length_seconds=[100, 100, 200],
    ).write_parquet(folder / "listens.parquet")
    for kind, time in (("likes", 20), ("unlikes", 25), ("dislikes", 30)):
        yambda_events(uid=[20], item_id=[2], timestamp=[time], is_organic=[1]).write_parquet(folder / f"{kind}.parquet")
    pl.DataFrame(
        {
            "item_id": [1, 2, 9],
            "embed": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
            "normalized_embed": [[0.5, 0.25], [1.0, 0.0], [0.0, 1.0]],
        }
    ).write_parquet(folder / "embeddings.parquet")
    pl.DataFrame({"artist_id": [8, 7, 9], "item_id": [1, 1, 9]}).write_parquet(folder / "artist_item_mapping.parquet")
    pl.DataFrame({"album_id": [3], "item_id": [2]}).write_parquet(folder / "album_item_mapping.parquet")
