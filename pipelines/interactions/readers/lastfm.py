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

from ..columns import SourceTable, find, reading
from ..schema import SourceLog, SourceVectors
from .mpd import AUDIO_FEATURES


def read(path: Path, scratch: Path) -> SourceLog:
    """The log in a folder."""
    plays = SourceTable.csv(find(path, "user_artists.dat"), "userID", "artistID", "weight", separator="\t", quote=None)
    listens = plays.select(
        user_id=plays.id("userID"),
        track_id=plays.id("artistID"),
        plays=plays.number("weight").fill_null(float("nan")),
    )
    artists_path = _as_utf8(find(path, "artists.dat"), scratch)
    artists = SourceTable.csv(artists_path, "id", "name", separator="\t", quote=None)
    name = pl.col("name").str.strip_chars()
    tracks = artists.select(track_id=artists.id("id"), title=name, artists=pl.concat_list(name).list.drop_nulls())
    vectors = None
    features_path = plays.path.with_name("artist_audio_features.csv")
    if features_path.is_file():
        features = SourceTable.csv(features_path, "id", *AUDIO_FEATURES)
        columns = {column: features.number(column) for column in AUDIO_FEATURES}
        vectors = SourceVectors("features", features.select(track_id=features.id("id"), **columns))
    return SourceLog(path, listens, tracks, vectors)


def _as_utf8(path: Path, scratch: Path) -> Path:
    """The file, or a copy of it in UTF-8 where it is not."""
    with reading(path):
        text = path.read_bytes()
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        path = scratch / path.name
        path.write_bytes(text.decode("latin-1").encode("utf-8"))
    return path
