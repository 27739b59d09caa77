"""Reader of HetRec 2011 Last.fm: an artist is a track, a play count the feedback; no times and no order.

    user_artists.dat             userID, artistID, weight (plays)      tab-separated, with a header
    artists.dat                  id, name, url, pictureURL
    artist_audio_features.csv    id, name, and mean audio features: acousticness, danceability, … (may be missing)

The text is UTF-8 in some copies and Latin-1 in others, and names hold quotation marks that quote nothing. The ten
audio features that have an order become the sound vectors `features`, as they are. The tags in user_taggedartists.dat
are left out: the same users wrote them, so genres made of them would know who listens.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ..columns import find, id_text, naming, need, number, scan_csv
from ..schema import SourceLog, SourceVectors
from .mpd import AUDIO_FEATURES


def read(path: Path, scratch: Path) -> SourceLog:
    """The log in a folder."""
    folder = path.parent if path.is_file() else path
    plays_path = find(folder, "user_artists.dat")
    plays = scan_csv(plays_path, separator="\t", quote=None)
    need(plays, plays_path, ["userID", "artistID", "weight"])
    listens = plays.select(
        id_text(plays, plays_path, "userID").alias("user_id"),
        id_text(plays, plays_path, "artistID").alias("track_id"),
        number(plays, plays_path, "weight").fill_null(float("nan")).alias("plays"),
    )
    artists_path = find(folder, "artists.dat")
    artists = scan_csv(_as_utf8(artists_path, scratch), separator="\t", quote=None)
    need(artists, artists_path, ["id", "name"])
    name = pl.col("name").str.strip_chars()
    tracks = artists.select(
        id_text(artists, artists_path, "id").alias("track_id"),
        name.alias("title"),
        pl.concat_list(name).list.drop_nulls().alias("artists"),
    )
    vectors = None
    features_path = folder / "artist_audio_features.csv"
    if features_path.is_file():
        features = scan_csv(features_path)
        need(features, features_path, ["id", *AUDIO_FEATURES])
        columns = [number(features, features_path, column).alias(column) for column in AUDIO_FEATURES]
        vectors = SourceVectors(
            "features", features.select(id_text(features, features_path, "id").alias("track_id"), *columns)
        )
    return SourceLog(folder, listens, tracks, vectors)


def _as_utf8(path: Path, scratch: Path) -> Path:
    """The file, or a copy of it in UTF-8 where it is not."""
    with naming(path):
        text = path.read_bytes()
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        path = scratch / path.name
        path.write_bytes(text.decode("latin-1").encode("utf-8"))
    return path
