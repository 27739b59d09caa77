"""How to embed: the options of `crossfade embed` and `Library.embed`. Imports nothing heavy, since help needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token

from ...option_types import Count, Flag


def _tag_name(_: Any, tokens: Sequence[Token]) -> str:
    kind, _, name = tokens[-1].value.partition(":")
    if kind != "tag" or not name:
        raise ValueError(f"{tokens[-1].value}: not of the form tag:NAME, such as tag:musicbrainz_trackid")
    return name.lower()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    manifest: Path | None = None
    """a CSV of path, track_id, title, artist, album, genre …"""
    id_field: Annotated[str | None, Parameter(name="--id-from", converter=_tag_name, n_tokens=1)] = None
    """tag:NAME, such as tag:musicbrainz_trackid, for track_id"""
    windows: Literal["default", "all"] = "default"
    """nine windows of 3 s spread over the track, or all of it"""
    workers: Count | None = None
    """processes; one per core by default"""
    genre_model: Path | None = None
    """folder of a genre model of yours (crossfade genres train); what the library has by default"""
    encoder: str | None = None
    """an audio model of transformers, by name or folder, to embed with as well (docs/encoders.md)"""
    retry: Flag = False
    """try again what failed before"""
