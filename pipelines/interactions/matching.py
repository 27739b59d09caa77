"""Joining a log's tracks with a library's by artist and title, where their ids have nothing in common.

Names are compared without case, accents, punctuation, a leading "the" and featured guests. Tracks without a match are
tried again without the names of an edition: "(2011 Remaster)", "- Mono Version", "[Explicit]". A live or
acoustic version or a remix stays another track.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

_GUESTS = r"(?i)\s*[\(\[]?\b(feat|ft|featuring)\b\.?\s.*$"
_EDITION = (
    r"(remaster|\bmono\b|\bstereo\b|\bexplicit\b|\bclean\b|\bdeluxe\b|\bbonus track\b|\bsingle\b|\balbum version\b"
    r"|\boriginal version\b|\boriginal mix\b|\bradio edit\b|\b\d{4} version\b)"
)
_BRACKETED_EDITION = rf"(?i)\s*[\(\[][^\)\]]*{_EDITION}[^\)\]]*[\)\]]"
_DASHED_EDITION = rf"(?i)\s+[-–—]\s+[^-–—]*{_EDITION}.*$"


@dataclass(frozen=True)
class Matches:
    """Which of a log's tracks are which of a library's."""

    pairs: pl.DataFrame
    """track_id (the log's), library_track_id; one row per matched track"""
    ambiguous: int
    """tracks that fit several of the library's: left alone"""
    unmatched: int

    def record(self) -> dict[str, int]:
        return {"matched": len(self.pairs), "ambiguous": self.ambiguous, "unmatched": self.unmatched}


def match(tracks: pl.DataFrame, library_tracks: pl.DataFrame) -> Matches:
    """Matches by (any one of the artists, title); both frames have track_id, title and artists."""
    unmatched = tracks.select("track_id")
    pairs = pl.DataFrame(schema={"track_id": pl.String, "library_track_id": pl.String})
    ambiguous = 0
    for title in (_plain(_without_guests(pl.col("title"))), _plain(_without_editions(pl.col("title")))):
        keys = _keys(tracks.join(unmatched, on="track_id", how="semi"), title)
        library_keys = _keys(library_tracks, title).rename({"track_id": "library_track_id"})
        pairs_found = keys.join(library_keys, on=["artist", "title"]).select("track_id", "library_track_id").unique()
        fits = pairs_found.group_by("track_id").agg(pl.len(), pl.col("library_track_id").first())
        pairs = pl.concat([pairs, fits.filter(pl.col("len") == 1).select(pairs.columns)])
        ambiguous += len(fits.filter(pl.col("len") > 1))
        unmatched = unmatched.join(fits, on="track_id", how="anti")
    return Matches(pairs.sort("track_id"), ambiguous, len(unmatched))


def _keys(tracks: pl.DataFrame, title: pl.Expr) -> pl.DataFrame:
    """(track_id, artist, title) for each artist of each track that has both names."""
    artist = _plain(_without_guests(pl.col("artist"))).str.replace(r"^the (.)", "$1")
    exploded = tracks.select("track_id", "title", pl.col("artists").alias("artist")).explode("artist")
    keys = exploded.select("track_id", artist.alias("artist"), title.alias("title"))
    return keys.filter((pl.col("artist") != "") & (pl.col("title") != "")).unique()


def _without_guests(name: pl.Expr) -> pl.Expr:
    return name.str.replace(_GUESTS, "")


def _without_editions(title: pl.Expr) -> pl.Expr:
    return _without_guests(title.str.replace_all(_BRACKETED_EDITION, "").str.replace(_DASHED_EDITION, ""))


def _plain(name: pl.Expr) -> pl.Expr:
    """Letters and digits in lower case, one space between words; the name itself where it has neither."""
    bare = name.str.normalize("NFKD").str.replace_all(r"\p{M}", "").str.to_lowercase().str.replace_all("ß", "ss")
    bare = bare.str.replace_all(r"\s*[&+]\s*", " and ").str.replace_all(r"['’`]", "")
    words = bare.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    return pl.when(words == "").then(name.str.strip_chars()).otherwise(words)
